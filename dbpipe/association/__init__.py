"""Linking detections to objects: reads what it has written, so it runs in the parent, in batches of images.

What a batch changes is found by sky: the detections within the linking radius of what came or went, and whatever hangs
together with them. All of it is grouped anew by the pure functions of `dbpipe.sky`, and what differs from before is
written, with the verdicts on the images, in one transaction.

contract       what the stage declares: settings, version, and where its functions are
flow           batches, and the order of things in one
images         which images are due, and what became of them
sources        detections as columns
neighborhood   what a batch changes
tracks         what moves within a night
write          the links, objects and tracks of now in the place of those before

Tests: contract, flow, images, neighborhood, sources, tracks, write in tests/association/test_association.py.
"""
