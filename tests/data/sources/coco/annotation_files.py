"""Contents of small annotation files in COCO's format."""

from __future__ import annotations

from typing import Any

WIDTH, HEIGHT = 12, 8
CATEGORIES = [{"id": 17, "name": "cat"}, {"id": 41, "name": "dog"}]
SQUARE = [[2, 1, 7, 1, 7, 6, 2, 6]]


def annotations_of(*images: str | dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return the contents of an annotation file with a cat in each image.

    Args:
        images: file name, or entry, of each image.
        changes: other values of the file's keys.
    """
    entries = [
        {"id": k, "width": WIDTH, "height": HEIGHT}
        | (image if isinstance(image, dict) else {"file_name": image})
        for k, image in enumerate(images, 1)
    ]
    annotations = [
        {"id": k, "image_id": entry["id"], "category_id": 17, "segmentation": SQUARE}
        for k, entry in enumerate(entries, 1)
    ]
    whole = {"images": entries, "annotations": annotations, "categories": CATEGORIES}
    return {**whole, **changes}
