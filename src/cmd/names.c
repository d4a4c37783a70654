/* cmd/names.c: two words at random. See names.h. */
#include "cmd/names.h"

#include <sys/random.h>

static const char *const manners[] = {
    "able",   "amber",  "apt",    "blithe", "bold",   "brave",  "breezy", "bright", "brisk",  "calm",   "candid", "civil",  "clear",
    "clever", "cosy",   "crisp",  "daring", "deft",   "eager",  "early",  "easy",   "fair",   "fleet",  "fond",   "frank",  "fresh",
    "gentle", "glad",   "golden", "good",   "grand",  "happy",  "hardy",  "honest", "jolly",  "keen",   "kind",   "light",  "lively",
    "lucid",  "lucky",  "mellow", "merry",  "mild",   "neat",   "nimble", "noble",  "patient", "plucky", "proud",  "quick",  "quiet",
    "ready",  "serene", "sharp",  "silver", "smart",  "snug",   "spry",   "steady", "sunny",  "swift",  "warm",   "witty",
};
static const char *const animals[] = {
    "adder", "badger",  "bat",     "bear",  "beaver", "bee",    "bison", "boar",   "bream", "carp",   "cat",    "crane",  "crow",
    "deer",  "dolphin", "dormouse", "dove",  "duck",   "eagle",  "eel",   "elk",    "falcon", "ferret", "finch",  "fox",    "frog",
    "goat",  "goose",   "gull",    "hare",  "hawk",   "hedgehog", "heron", "horse",  "ibex",  "jay",    "kestrel", "lark",   "lynx",
    "marten", "mole",    "moose",   "moth",  "newt",   "otter",  "owl",   "perch",  "pike",  "plover", "puffin", "rabbit", "raven",
    "robin", "salmon",  "seal",    "shrew", "sparrow", "stork",  "swan",  "tern",   "toad",  "trout",  "vole",   "wren",
};

char *name_random(void)
{
    uint8_t r[2] = { 0 };
    /* Sixteen bits need not be good: a name that is taken is drawn again. */
    if (getrandom(r, sizeof(r), 0) < 0) {
        r[0] = 0;
    }
    return str_printf("%s_%s", manners[r[0] % ARRAY_LEN(manners)], animals[r[1] % ARRAY_LEN(animals)]);
}
