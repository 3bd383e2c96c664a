"""`dataset.name: bp4dplus`: BP4D+, the Multimodal Spontaneous Emotion Corpus.

Its codes have BP4D's form; frames count from 1, and four of ten tasks are coded.
"""

from __future__ import annotations

from arpgnet.pipeline.datasets.adapters.bp4d import Protocol, list_tasks
from arpgnet.pipeline.datasets.base import About, Expected, Listing, Recipe, Wanted

TASKS = ("T1", "T6", "T7", "T8")
# the lists of subjects that FMAE-IAT's public code tests on, in its order
PARTS = (
    "F004 F013 F014 F019 F020 F026 F033 F038 F039 F044 F046 F047 F053 F057 F061 F066 F071 F072 "
    "F076 F079 M003 M004 M015 M017 M020 M025 M026 M029 M033 M036 M040 M042 M048 M050 M051",
    "F012 F016 F022 F024 F028 F030 F031 F032 F034 F056 F060 F065 F074 F075 F077 M001 M005 M009 "
    "M011 M016 M018 M019 M022 M023 M028 M034 M037 M038 M043 M044 M045 M046 M047 M052 M055",
    "F001 F002 F008 F009 F017 F021 F027 F029 F035 F040 F042 F043 F045 F050 F052 F054 F058 F062 "
    "F063 F064 F068 F069 F078 F080 M008 M010 M024 M027 M030 M031 M035 M041 M054 M056 M057",
    "F003 F005 F006 F007 F010 F011 F015 F018 F023 F025 F036 F037 F041 F048 F049 F051 F055 F059 "
    "F067 F070 F073 F081 F082 M002 M006 M007 M012 M013 M014 M021 M032 M039 M049 M053 M058",
)

ABOUT = About(
    title="BP4D+ (Multimodal Spontaneous Emotion Corpus)",
    classes=(),
    marks=("AUCoding/AU_OCC/F082_T1.csv", "AU_OCC/F082_T1.csv", "2D+3D"),
    layout="AUCoding/AU_OCC/F001_T1.csv and 2D+3D/F001/T1/000.jpg (F001.zip unpacked)",
    recipe=Recipe("kfold", "4 folds of subjects, those of FMAE-IAT's public lists", folds=4),
    metric="f1",
    license="research, non-commercial, after a signed agreement",
    obtain="http://www.cs.binghamton.edu/~lijun/Research/3DFE/3DFE_Analysis.html",
    source="public loaders (names, header of units, code 9, T1 T6 T7 T8 coded, 140 people; "
    "FMAE-IAT, arXiv:2407.11243: the parts of the 4 folds, and code 1 is the first frame, as a "
    "second loader says of 000.jpg; a third reads the image of the code's number). Not verified: "
    "the license's words",
    expected=Expected(clips=560, subjects=140),
)
BP4D_PLUS = Protocol("bp4dplus", PARTS, TASKS, from_first=True, other="BP4D (dataset.name: bp4d)")


def list_clips(wanted: Wanted) -> Listing:
    """A clip of each subject's coded task, with its 12 units in every coded frame, and the
    intensities of five. Fold 0 tests the first part of the published lists, and so on.

    Raises:
        WrongRootError: there is no folder of codes, or no file in it.
        UserError: a task has no images, or a file is not as documented.
    """
    return Listing(
        list_tasks(wanted, BP4D_PLUS),
        remarks=["fold 0 tests the first part of FMAE-IAT's lists, fold 3 the last"],
    )
