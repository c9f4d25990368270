"""Words by which personal data are recognised, as alternatives of a pattern."""

from __future__ import annotations

#: Common first names of many languages: a column of people's names has many of them, a column of towns few.
FIRST_NAMES = (
    "aaron|abdul|adam|ahmed|alan|albert|alejandro|alex|alexander|alexandra|ali|alice|amanda|amelia|amy|"
    "ana|andrea|andreas|andrew|andrzej|angela|anita|ann|anna|anne|anthony|antonio|aria|arthur|ashley|"
    "ayşe|barbara|beatriz|ben|benjamin|bernd|betty|bob|brandon|brian|bruno|camille|carl|carlos|carmen|"
    "carol|caroline|catherine|charles|charlotte|chen|chiara|chloé|chris|christian|christina|christine|"
    "christopher|clara|claudia|cynthia|daniel|david|deborah|dennis|diana|diego|dieter|dmitri|donald|"
    "donna|dorothy|edward|elena|elizabeth|emily|emma|eric|erika|eva|fatima|felix|fernando|francesco|"
    "francisco|frank|françois|franz|gabriel|gary|george|georg|gerald|gerd|gisela|giulia|giuseppe|grace|"
    "greta|hannah|hans|harold|heather|heike|heinz|helen|helga|henri|henry|hiroshi|ingrid|irene|isabel|"
    "isabella|ivan|jack|jacob|jakob|james|jan|jane|janet|jason|javier|jean|jeffrey|jennifer|jeremy|"
    "jessica|joan|joão|john|jonas|jonathan|jorge|josé|joseph|joshua|joyce|juan|judith|julia|julian|julie|"
    "jürgen|karen|karin|karl|katarzyna|katharina|katherine|kathleen|keith|kenneth|kevin|klaus|krzysztof|"
    "kyle|larry|laura|lauren|léa|lena|leon|linda|lisa|louis|louise|lucas|lucia|luigi|luis|luisa|lukas|"
    "magdalena|manfred|manuel|marc|marco|margaret|maria|marie|mario|mark|marta|martha|martin|mary|maryam|"
    "matteo|matthew|max|maximilian|megan|mehmet|mia|michael|michaela|michelle|miguel|mohamed|mohammed|"
    "monika|natalia|nancy|natalie|nathan|nicholas|nicola|nicole|nina|noah|nora|olga|oliver|olivia|omar|"
    "pablo|pamela|patricia|patrick|paul|paula|pedro|peter|petra|philip|pierre|piotr|priya|rachel|rafael|"
    "rahul|ralf|ramon|raymond|rebecca|renate|ricardo|richard|robert|roberto|roger|ronald|rosa|russell|"
    "ruth|ryan|sabine|samantha|samuel|sandra|sara|sarah|scott|sean|sebastian|sergei|sergio|sharon|silvia|"
    "simon|sofia|sophia|sophie|stefan|stefanie|stephanie|stephen|steven|susan|susanne|svetlana|tamara|"
    "tanja|teresa|theresa|thomas|tim|timothy|tobias|tom|tomasz|tyler|ursula|uwe|valentina|vanessa|victor|"
    "victoria|vincent|virginia|vladimir|walter|wayne|wei|werner|william|wolfgang|xavier|yasmin|yuki|"
    "yusuf|zoe"
)

STREET_WORDS = "street|st|road|rd|avenue|ave|lane|ln|drive|dr|boulevard|blvd|court|ct|terrace|square|crescent"

#: ``logo@2x.png`` is a picture for fine screens, not an address.
PICTURE_ENDINGS = "png|jpg|jpeg|gif|webp|svg|avif|ico"

__all__ = ["FIRST_NAMES", "PICTURE_ENDINGS", "STREET_WORDS"]
