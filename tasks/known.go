package tasks

import "strings"

// What the provider was seen to know, as of 2026-06: it documents neither list in
// full, and both grow. Nothing is refused by them, see [Export.Lint].

// defaultStyle is the caption style of an export that names none.
const defaultStyle = "temp-7"

// staticStyle begins the names of the styles that can show both captions.
const staticStyle = "temp-static-"

// websiteTask begins the ids of tasks that were made on the provider's website,
// which its API does not know.
const websiteTask = "hmtask"

var knownStyles = strings.Fields(`
smart-bg-focus box-highlight word-focus underline-focus
temp-0 temp-1 temp-2 temp-3 temp-4 temp-5 temp-6 temp-7 temp-8 temp-9 temp-10 temp-11 temp-12 temp-13 temp-14
temp-15 temp-16 temp-17
temp-static-1 temp-static-2 temp-static-3 temp-static-4 temp-static-5 temp-static-6
game-streamer-1 game-streamer-2 game-streamer-3 game-streamer-4 game-streamer-5 game-streamer-6 game-streamer-7`)

// knownLanguages are those of ISO 639-1 and the provider's own.
var knownLanguages = strings.Fields(`
zh-cn zh-tw jw haw
aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en
eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv
ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne
ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st
su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu`)
