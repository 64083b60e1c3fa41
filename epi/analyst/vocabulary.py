"""Words that the grammar knows: outputs, layers, and words that carry no meaning of their own. A question with another word is refused."""

from __future__ import annotations

import re

__all__ = ["LAYERS", "NEUTRAL", "OUTPUTS", "known_word"]


def _terms(text: str) -> frozenset[str]:
    return frozenset(text.split())


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
        r"\bascertainment\b|\b(?:are|were|is|was) (?:infections )?under-?reported\b|\binfections? (?:are|were|is|was) under-?reported\b"
        r"|\bunder-?reporting\b|\b(?:share|proportion|fraction|percentage|part) of (?:all |the )?infections (?:that )?"
        r"(?:was|were|is|are|got|has been|have been)? ?"
        r"(?:reported|found|detected|ascertained)\b",
        "ascertainment",
    ),
    (r"\bhospital days\b", "hospital days"),
    (r"\b(?:deaths?|died?|dying|fatalit(?:y|ies)|killed|mortality)\b", "deaths"),
    (
        r"\b(?:hospital )?admissions?\b|\badmitted(?: to (?:the )?hospital)?\b|\bhospitali[sz](?:ed|ations?)\b"
        r"|\b(?:went|go|gone|going|taken|sent|brought) (?:in)?to (?:the )?hospital\b",
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

NEUTRAL = _terms(
    """
    a about above accordingly across actually additional adult adults after again age aged ages all alone along already also although
    altogether always among amount an and answer any anyone anything appear approximately are area areas around as ask assume assuming at
    average avert averted avoid avoided away back based baseline basically be beat because become been before begin behave being belong
    below besides best better between bit both bring brought by calibrated calibration call called came can case cause caused causes certain
    change changed changes chart check checks child children clear clearly close closed closes closing closure closures combined come comes
    coming common compare compared completely compute concerning consequence consequences consider considered considering constant contact
    contacts continue continued correct could count counted counterfactual counterfactually counties country county course cumulative curb
    curbed cut cuts daily data date day days decide decline declined decrease decreased define definition degree depend depends describe
    develop developed development did differ difference different directly discover disease display district districts do does doing done
    double doubled doubling down draw drive driven driver drivers drives drop dropped dropping drops during each earlier early ease effect
    effects either else end ended ending ends entire entirely epidemic equal estimate estimated estimates even ever every everybody everyone
    everywhere exactly except exist expect expected expects explain extent extra fact fairly fall fallen falling falls far fast faster fell
    few fewer fewest figure  fine first fit fitted followed following for forecast forecasts foresee foreseen forward found four from
    full further future gain gave general generally get give given go goes going gone good got graph great greater grow growing grown had
    half halve halved halving happen happened happening happens has have having height hence here high higher highest hit hospital hospitals
    how however hypothetical hypothetically i if imagine impact imply important impose imposed in increase increased increases infect
    infected infecting infectious influence influences influential inhabitants initial initially inside instead interval intervals into
    introduce introduced involve involved is it its itself just keep keeping kept know known large larger largest last late later lead
    leading leads learn least led left less let level levels lies like likelihood limit limited list little live living location long longer
    look looked looking lot lots low lower lowering lowest made main mainly make makes making many matter matters maximum may me mean
    meaning means median meet meeting met middle might model moment more most mostly move moved much must my name near nearly need never new
    next no normal not note nothing now number numbers occur occurred occurs of off often old older on once one only onward onwards open
    opened or other others our out outbreak outcome output over overall overview own parameter parameters part parts past peak peaked peaks
    people per percent percentage perhaps period permanent persons picture place places please plot point points population positive
    possible posterior predict predicted prediction predictions present pretty prevent prevented previous previously prior probability
    probable probably produce projected projection proportion put quantify quantity quarter question quickly quite raise raised raising
    ranking rate rates rather ratio reach reached real realistic really recent recently reduce reduced reduces reducing reduction reductions
    regarding region regions relative reliable rely remain remained report reported reporting reports residents respect respectively rest
    restrict restricted result results right rise risen rises rising roughly round run same saw say saying scale score scored scores second
    see seed seeded seeding seem seems seen senior seniors sense sensitive sensitivity series set several severe shall share sharp short
    should show shown shut shuts side similar simply simulate simulated simulation simulations since single situation six size skill
    slightly slow slower smaller smallest so some somewhat soon source spread stand start started starting starts state stay stayed stays
    steep step still stop stopped stream streams strong stronger strongly substantially such suffer sum summarise summarize summary suppose
    sure taken takes talk tell tells term terms than that the their them then there these they thing things think third this those three
    through throughout till time times timing to today together told too top total towards trajectory transmission trend true truly trust
    trusted try turn turned twice two typical ultimately uncertain uncertainty under until up us usual usually value values vary verdict
    verdicts versus very via view virus want wanted was wave way ways we week weekly weeks went were what whatever when whenever where
    whereas whether which while who whole why wide widest will with within without wonder word words work working worst would year years yet
    you young younger your zero
    """
)
"""Words that need not be understood one by one."""

_NUMBER_TERMS = _terms(
    """
    half third thirds quarter quarters fifth tenth two three four five six seven eight nine ten eleven twelve double twice triple doubled
    tripled halved
    """
)


def known_word(word: str) -> bool:
    """Whether a word of a question can be passed over once the patterns have taken theirs out."""
    return word in NEUTRAL or word in _NUMBER_TERMS or not re.search(r"[a-z]", word)
