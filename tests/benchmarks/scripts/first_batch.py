"""The first batch in numpy: first_batch.py ROOT load|map"""

import sys

import numpy as np

import fmnist_fetch

train = fmnist_fetch.load(root=sys.argv[1], verify=sys.argv[2] == "load")
rows = np.random.default_rng(0).permutation(len(train.labels))[:256]
images, labels = train.images[rows].astype(np.float32) / 255, train.labels[rows]
assert images.shape == (256, 28, 28)
assert images.max() == 1
assert labels.shape == (256,)
