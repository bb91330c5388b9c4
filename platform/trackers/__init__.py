"""Trackers: TensorBoard, MLflow and Weights & Biases, which keep runs beside the store."""
