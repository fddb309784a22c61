"""DEAL: restoration of thermal infrared pictures by data-efficient adversarial learning."""

__version__ = "0.1.0"
