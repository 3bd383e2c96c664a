"""The sets of stills by the names of `finetune.dataset`; each is a module with `list_stills`."""

from __future__ import annotations

from arpgnet.pipeline.common.params import FinetuneParams
from arpgnet.pipeline.stills.stills import Listing


def list_stills(params: FinetuneParams, workers: int) -> Listing:
    """Name every still of the set; `workers` processes may be used to bring them into being.

    Raises:
        UserError: the root is absent, or is laid out in another way.
    """
    # imported when chosen: the demo's brings the renderer
    if params.dataset == "demo":
        from arpgnet.pipeline.stills import demo

        return demo.list_stills(params, workers)
    from arpgnet.pipeline.stills import affectnet, emotionet, fer2013, folder, rafdb

    chosen = {
        "affectnet": affectnet,
        "emotionet": emotionet,
        "fer2013": fer2013,
        "folder": folder,
        "rafdb": rafdb,
    }
    return chosen[params.dataset].list_stills(params, workers)
