"""The recipe of the mini family: data from the barnyard, training, measurement, model card."""
