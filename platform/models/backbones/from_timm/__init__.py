"""Networks of the library timm as backbones; timm is imported only when one is built."""
