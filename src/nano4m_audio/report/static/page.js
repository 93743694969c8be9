"use strict";
// What the page can do beyond being read: it asks nothing of the network and is complete without.
