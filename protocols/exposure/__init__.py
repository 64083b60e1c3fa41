"""Exposure notification: phones with the real key derivation in an epidemic, and what they avert.

See docs/federated.md for the model and its numbers, docs/privacy.md for what phones and server learn.
"""

from protocols.exposure._epidemic import Course as Course
from protocols.exposure._epidemic import Notification as Notification
from protocols.exposure._epidemic import averted as averted
from protocols.exposure._epidemic import notified_epidemic as notified_epidemic
from protocols.exposure._keys import MissingCryptography as MissingCryptography
from protocols.exposure._keys import encrypt_metadata as encrypt_metadata
from protocols.exposure._keys import identifier_key as identifier_key
from protocols.exposure._keys import identifiers as identifiers
from protocols.exposure._keys import interval_number as interval_number
from protocols.exposure._keys import metadata_key as metadata_key
from protocols.exposure._phones import Heard as Heard
from protocols.exposure._phones import Phones as Phones
from protocols.exposure._phones import Published as Published
from protocols.exposure._phones import Risk as Risk
from protocols.exposure._sync import sync as sync
