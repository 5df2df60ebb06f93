"""A layer-local network as a scikit-learn estimator, and out of it a plain module.

python examples/estimator.py
"""

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from layerlocal import LayerLocalClassifier

X, y = load_digits(return_X_y=True)  # 1,797 images of 8 × 8 pixels, 0..16
X_train, X_test, y_train, y_test = train_test_split(X.reshape(-1, 8, 8), y, test_size=0.25, stratify=y, random_state=0)

model = LayerLocalClassifier("class-goodness", network="cnn4", width=0.25, epochs=8, random_state=0)
model.fit(X_train, y_train)
print(f"test accuracy {model.score(X_test, y_test):.3f} of {len(y_test)}")

module = model.to_module()  # nn.Module: (B, 1, 8, 8) as in X → scores (B, 10)
scores = module(torch.from_numpy(X_test[:1, None]).float())
print(f"{type(module).__name__}: a {y_test[0]} is taken for a {scores.argmax().item()}")
