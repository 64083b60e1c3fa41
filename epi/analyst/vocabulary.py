"""Words that the grammar knows: outputs, layers, and words that carry no meaning of their own. A question with another word is refused."""

from __future__ import annotations

import re

__all__ = ["LAYERS", "NEUTRAL", "OUTPUTS", "known_word"]

OUTPUTS: tuple[tuple[str, str], ...] = (
    (r"\br0\b|\bbasic reproduction (?:number|rate)s?\b", "R0"),
    (r"\brt\b|\b(?:effective |instantaneous )?reproduction (?:number|rate)s?\b", "Rt"),
    (r"\binfection[- ]fatality(?: ratio| rate)?s?\b|\bifr\b|\bfatality (?:ratio|rate)\b", "infection-fatality ratio"),
    (r"\binfection[- ]hospitali[sz]ation(?: ratio| rate)?s?\b|\bihr\b", "infection-hospitalisation ratio"),
    (
        r"\battack rates?\b|\b(?:share|proportion|fraction|percentage) of (?:all |the )?(?:people|population|everyone|everybody|inhabitants)\b"
        r"(?=.*\b(?:infected|infection|caught)\b)",
        "attack rate",
    ),
    (
        r"\bascertainment\b|\b(?:are|were|is|was) (?:infections )?under-?reported\b|\binfections? (?:are|were|is|was) under-?reported\b|\bunder-?reporting\b|\b(?:share|proportion|fraction|percentage|part) of (?:all |the )?infections (?:that )?(?:was|were|is|are|got|has been|have been)? ?"
        r"(?:reported|found|detected|ascertained)\b",
        "ascertainment",
    ),
    (r"\bhospital days\b", "hospital days"),
    (r"\b(?:deaths?|died?|dying|fatalit(?:y|ies)|killed|mortality)\b", "deaths"),
    (
        r"\b(?:hospital )?admissions?\b|\badmitted(?: to (?:the )?hospital)?\b|\bhospitali[sz](?:ed|ations?)\b|\b(?:went|go|gone|going|taken|sent|brought) (?:in)?to (?:the )?hospital\b",
        "admissions",
    ),
    (r"\b(?:people )?in (?:the )?hospital\b|\b(?:bed |hospital )?occupancy\b|\bhospital beds\b", "occupancy"),
    (r"\bwastewater\b", "wastewater"),
    (r"\bcases?\b|\breported infections\b|\btest(?:ed)? positive\b|\bpositive tests?\b", "cases"),
    (r"\binfections?\b|\binfected\b|\bcaught\b", "infections"),
)
"""Patterns of what can be asked about, in order: the first that matches is meant, and its words are taken out of the rest."""

LAYERS: tuple[tuple[str, tuple[str, ...] | None], ...] = (
    (r"\boutside (?:the |of the )?(?:homes?|households?)\b", None),
    (r"\b(?:schools?|classrooms?|schooling)\b", ("school",)),
    (r"\b(?:workplaces?|work|offices?|jobs)\b", ("work",)),
    (r"\b(?:households?|homes?|famil(?:y|ies))\b", ("household",)),
    (r"\b(?:community|communities|elsewhere|public)\b", ("community",)),
)
"""Layers of contacts by pattern; None for all but the household."""

NEUTRAL = frozenset(
    """a about above after again age aged ages all already also altogether although among an and any are area areas around as ask at averted avoid
    avoided avert away back baseline be beat because become been before begin being below best better between both by calibrated calibration can
    case change changed changes chart check checks child children close closed closes closing closure closures come comes coming compare compared
    contact contacts could count counted counties county country cut cuts data date day days decrease decreased decline declined define definition
    describe did differ difference different district districts do does doing double doubled down draw drive driven drives driver drivers drop
    dropped drops during each earlier early effect effects either else end ended ending ends entire epidemic estimate estimated estimates even
    ever every everybody everyone everywhere expect expected expects explain fall fallen falling falls fell few fewer fewest figure figures first
    fit fitted for forecast forecasts found four from full further future gave get give given go goes going gone good got graph great greater grow
    growing grown had half halve halved happen happened happening happens has have having height here high higher highest hospital hospitals how
    however i if impact important in increase increased increases influence influences influential inhabitants instead interval intervals into is
    it its itself just kept know known large larger largest last late later least left less let level levels like likelihood list location long
    longer look low lower lowest made make many matter matters maximum may me mean meaning means median might model more most much must my name
    nearly need never new next no not now number numbers of off old older on once one only open opened or other others our out outbreak outcome
    output over overview parameter parameters part peak peaked peaks people per percent percentage period persons picture place places please plot
    population positive possible posterior predict predicted prediction predictions prevent prevented prior probable produce projected projection
    proportion quarter quickly ranking rate rates ratio reach reached reduce reduced reduces reduction reductions region regions relative reliable
    rely remain remained report reported reporting reports restrict restricted result results rise risen rises rising run same saw say score scored
    scores second see seed seeded seeding seen sensitive sensitivity series several share should show shown shut shuts simulated since single six
    size skill slow smaller smallest so some source start started starting starts stay stayed stays still stop stopped stream streams strong
    stronger such suffer sum summarise summarize summary suppose tell tells than that the their them then there these they third this those three
    through till time times to today told total transmission trust trusted twice two uncertain uncertainty under until up us value values verdict
    verdicts very was wave way we week weekly weeks were what when where whether which while who whole why wide widest will with within without
    word words would year years yet you young younger your zero
    accordingly across actually additional adult adults alone along always amount answer anyone anything appear approximately assume assuming
    average based basically become behave being belong besides bit bring brought call called came cause caused causes certain clear clearly
    combined common completely compute concerning consider considered considering consequence consequences constant continue continued
    correct cumulative curb curbed daily decide degree depend depends develop developed development directly discover disease display doubling
    dropping ease entirely equal exactly except exist extent extra fact fairly far fast faster fine following followed foresee foreseen
    forward gain general generally halving happens hence hit imagine imply impose imposed infect infectious infecting initial initially inside
    introduce introduced involve involved keep keeping lead leading leads learn led lies limit limited little live living long look looked
    looking lot lots lowering main mainly make makes making meet meeting met middle moment mostly move moved near normal note nothing number
    occur occurred occurs often onward onwards overall own parts past perhaps period permanent please point points present pretty previous
    previously probability probably put quantify quantity question quite raise raised raising rather real realistic really recent recently
    reducing regarding residents respect respectively right rising roughly round say saying scale seem seems senior seniors sense set severe
    shall sharp short side similar simply simulate simulation simulations situation slightly slower somewhat soon spread stand state steep step
    strongly substantially sure taken takes talk tell term terms thing things think throughout timing together too top towards trajectory trend
    true truly try turn turned typical ultimately usual usually vary versus via view virus want wanted way ways went whatever whenever whereas
    wonder work working worst infected happening hypothetical hypothetically counterfactual counterfactually rest course done""".split()
)  # fmt: skip
"""Words that need not be understood one by one."""

_NUMBER_WORDS = frozenset(
    "half third thirds quarter quarters fifth tenth two three four five six seven eight nine ten eleven twelve double twice triple doubled tripled halved".split()
)


def known_word(word: str) -> bool:
    """Whether a word of a question can be passed over once the patterns have taken theirs out."""
    return word in NEUTRAL or word in _NUMBER_WORDS or not re.search(r"[a-z]", word)
