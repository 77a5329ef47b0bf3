"""A linear classifier by scikit-learn, epoch by epoch: train_sgd.py ROOT EPOCHS"""

import sys
from pathlib import Path

import numpy as np
from sklearn.linear_model import SGDClassifier

import fmnist_fetch

train, test = (fmnist_fetch.load(split=name, root=sys.argv[1]) for name in ("train", "test"))
pixels, unseen = (split.images.reshape(-1, 784).astype(np.float32) / 255 for split in (train, test))
model = SGDClassifier(loss="log_loss", random_state=0)
rng = np.random.default_rng(0)
found = 0.0
for _epoch in range(int(sys.argv[2])):
    rows = rng.permutation(len(pixels))
    model.partial_fit(pixels[rows], train.labels[rows], classes=np.arange(10))
    found = float(model.score(unseen, test.labels))
Path("accuracy").write_text(str(found))
