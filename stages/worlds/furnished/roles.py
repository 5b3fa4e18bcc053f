"""The role of a model in a world, from its name, category and size in the catalogue."""

import re

# The first pattern that a name matches wins. Roles say where a thing belongs: see `rooms`, `streets` and `table_tops`.
PATTERNS: list[tuple[str, str]] = [
    ("", r"swimming|pool lounge|^jacuzzi|parking|crossing|arrow|rails?$|barnum|staircase"),
    ("", r"elevator|escalator|garage|mezzanine|diving board"),
    ("", r"socket|plug$|switch$|smoke|cctv|surveillance|intercom|entry |bill \d|ring$|keys"),
    ("", r"contemporary living|screen door|shower|doll house"),
    ("", r"towel$|\btools?$|concrete sidewalk|fluorescent strip|clothes hanger|wire coat"),
    ("", r"shutter|blind|spray|square|rounded|abdominal|sleeping"),
    ("small", r"^toy|car model|biplane|doll$|desk lamp|bonsai|^cooker|induction|^small oven|propane|^stove$"),
    ("person", r"^(holding |sitting |lying down )?(fe)?male$|^(sitting |lying down )?(boy|girl)$|mannequin"),
    ("tree", r"acacia|cypress|poplar|maple|beech|\bpine\b|coconut|palm|peach|sycamore"),
    ("hedge", r"hedge|^bush"),
    ("vehicle", r"sedan|beetle|seat leon|peugeot|renault|smart car|chevrolet|\bsuv\b|^van$|truck"),
    ("vehicle", r"\bbus$|ford focus"),
    ("cycle", r"motorbike|yamaha|bicycle|^bike$|scooter|tricycle|stroller|wheelchair|wheelbarrow|mower"),
    ("street", r"street l|lamppost|park light|outdoor lamp|fire hydrant|mailbox|letters box"),
    ("street", r"park trash|bullet trash|residential trash"),
    ("street", r"recycling|concrete bench|painted bench|^bench$|pedestrian railing|cone$"),
    ("street", r"flower ?box|plant box|shipping|porch column"),
    ("fence", r"fence|railing"),
    ("garden", r"children game|child (hut|swing)|seesaw|sandpit|trampoline|tent$|garden hut"),
    ("garden", r"dog house|stone lantern|japanese lantern|fountain|rock$|snowman"),
    ("garden", r"football goal|basketball net|rowboat|hammock|beach|deck ?chair|teck|barrel"),
    ("garden", r"crate|pallet|wood logs|grill|plantie|fork ?lift"),
    ("", r"window"),
    ("door", r"\bdoor(?! cabinet)\b(?!mat)"),
    ("curtain", r"^curtain"),
    ("rug", r"\brug\b|carpet|bathmat|doormat|tatami"),
    ("ceiling", r"ceiling|hanging light|chandelier|pendant|fluorescent|track lights|rigged fan"),
    ("radiator", r"^radiator"),
    ("upper", r"upper|range hood|^hood$"),
    ("wall", r"wall (light|lamp|spot|hanger|flat)|clock|calendar|white ?board|emergency"),
    ("wall", r"thermometer|towel rack|dart|porch light|internal unit"),
    ("wall", r"water heater|boiler|toilet paper|hanging clothes|paper towel"),
    ("sofa", r"sofa|couch|futon|day bed|little bank|wood bank"),
    ("armchair", r"armchair|relax chair|chaise|puff|rattan chair"),
    ("bed", r"\bbed\b(?!side)|crib|air mattress"),
    ("bedside", r"bedside|nightstand"),
    ("lamp", r"lamp|lantern|candle|\blight$"),
    ("seat", r"chair|stool|seat$|silla|ottoman|piano bench"),
    ("desk", r"desk|workbench|dressing table|technical table"),
    ("table", r"table(?! (fan|football|tennis bat|lamp))|island$"),
    ("kitchen", r"lower (cabinet|corner)|fridge|refrigerator|oven|stove|cooker|sink"),
    ("kitchen", r"washing machine|dryer|dish|freezer|furnace|high cabinet"),
    ("bath", r"bath|bidet|toilets? unit|lavatory|washbasin|urinal|vanity|basin"),
    ("television", r"^tv$|^tv 16|led|imac|^screen$"),
    ("cabinet", r"bookcase|shelves|wardrobe|cupboard|cabinet|dresser|drawers|tv stand|chest$"),
    ("cabinet", r"locker|dressing|clothes rack|safe"),
    ("plant", r"plant|ficus|bamboo|yucca|cactus|orchid|tulip|lily|augalas|flowers?$|christmas|bonsai|spathi"),
]
SMALL = 0.62  # largest side of things that lie on tables, metres


def role_of(name: str, category: str, size: tuple[float, float, float]) -> str:
    """The role of a model, or "" if no world uses it.

    name, category: as the catalogue writes them.  size: width, depth, height, metres.
    """
    role = next((role for role, pattern in PATTERNS if re.search(pattern, name.lower())), None)
    largest, height = max(size), size[2]
    if role == "table" and height < 0.56:
        role = "low table"
    if role == "lamp":
        role = "small" if largest < 0.25 else "table lamp" if height < 0.85 else "floor lamp"
    if role in ("plant", "television") and height < 0.55:
        role = "small" if largest < SMALL else role
    if role in ("table", "low table", "seat", "sofa", "bed", "desk", "cabinet", "armchair") and largest < 0.35:
        role = "small"
    if role is None:
        role = "garden" if category in ("Vehicles", "Exterior") else "small" if largest < SMALL else "other"
    return role
