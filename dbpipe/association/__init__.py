"""Linking detections to objects: reads what it has written, so it runs in the parent, in batches of images.

What a batch changes is found by sky: the detections within the linking radius of what came or went, and whatever hangs
together with them. All of it is grouped anew by the pure functions of `dbpipe.sky`, and what differs from before is
written, with the verdicts on the images, in one transaction.

config         settings
flow           batches, and the order of things in one
images         which images are due, and what became of them
sources        detections as columns
neighborhood  what a batch changes
tracks         what moves within a night
write          the links, objects and tracks of now in the place of those before
"""

from dbpipe.association.config import VERSION, AssociateConfig
from dbpipe.association.flow import associate, link_alone
from dbpipe.association.images import count_due, find_due
from dbpipe.stage import ParentStage

ASSOCIATE = ParentStage("associate", version=VERSION, run=associate, config=AssociateConfig, count_due=count_due)

__all__ = ["ASSOCIATE", "AssociateConfig", "associate", "find_due", "link_alone"]
