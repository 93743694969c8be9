"""Images and audio between bytes and arrays: windows, the crop, stored forms, colours."""
