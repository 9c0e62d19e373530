package provider

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

const (
	// maxClips bounds the clips of one answer: real exports have tens.
	maxClips = 10_000
	// maxIdx bounds a clip's index, far above any real one.
	maxIdx = 1_000_000
	// maxText bounds a text, maxTag one of at most maxTags tags, in bytes.
	maxText = 4 << 10
	maxTag  = 256
	maxTags = 100
	// maxWarnings bounds a task's warnings.
	maxWarnings = 20
)

// The shapes below leave every value raw, so that one of a wrong type is lost
// alone. Fields that aren't named cost no memory.
type rawEnvelope struct {
	Data json.RawMessage `json:"data"`
	// Result is what others call it.
	Result json.RawMessage `json:"result"`
	// Some answers of the API have no envelope.
	ExportTaskID json.RawMessage `json:"export_task_id"`
	ID           json.RawMessage `json:"id"`
	Status       json.RawMessage `json:"status"`
}

type rawTask struct {
	ExportTaskID json.RawMessage `json:"export_task_id"`
	// ID is what the provider's own client reads first, of any kind of task.
	ID            json.RawMessage `json:"id"`
	Name          json.RawMessage `json:"name"`
	Status        json.RawMessage `json:"status"`
	ErrorMessage  json.RawMessage `json:"error_message"`
	ExpireAt      json.RawMessage `json:"expire_at"`
	CostUsage     json.RawMessage `json:"cost_usage"`
	APIUnitsUsage json.RawMessage `json:"api_units_usage"`
	Clips         json.RawMessage `json:"clips"`
}

type rawClip struct {
	Idx        json.RawMessage `json:"idx"`
	Title      json.RawMessage `json:"title"`
	BeginMS    json.RawMessage `json:"begin_ms"`
	EndMS      json.RawMessage `json:"end_ms"`
	Thumbnail  json.RawMessage `json:"thumbnail"`
	Desc       json.RawMessage `json:"desc"`
	ExportLink json.RawMessage `json:"export_link"`
	Tags       json.RawMessage `json:"tags"`
	Score      json.RawMessage `json:"score"`
}

// byteOrderMark is what some gateways and servers put in front of UTF-8.
var byteOrderMark = []byte("\xef\xbb\xbf")

func trimMark(body []byte) []byte { return bytes.TrimPrefix(body, byteOrderMark) }

// envelope is an answer's outermost layer.
type envelope struct {
	words words
	data  json.RawMessage
}

func decodeEnvelope(body []byte) (envelope, error) {
	body = trimMark(body)
	var raw rawEnvelope
	if err := json.Unmarshal(body, &raw); err != nil || len(body) > 0 && bytes.TrimSpace(body)[0] != '{' {
		return envelope{}, errors.New("it is not a JSON object")
	}
	env := envelope{words: wordsOf(body), data: only(raw.Data)}
	if absent(env.data) && strings.HasPrefix(string(only(raw.Result)), "{") {
		env.data = only(raw.Result)
	}
	if absent(env.data) && (!absent(raw.ExportTaskID) || !absent(raw.ID) && !absent(raw.Status)) {
		env.data = bytes.Clone(body)
	}
	return env, nil
}

// only returns the entry of a list that has just one object, and anything else as it is.
func only(raw json.RawMessage) json.RawMessage {
	var list []json.RawMessage
	if !isList(raw) || json.Unmarshal(raw, &list) != nil || len(list) != 1 || !strings.HasPrefix(string(list[0]), "{") {
		return raw
	}
	return list[0]
}

// warnings collects what was left out, up to a bound.
type warnings struct {
	list []string
	more int
}

func (w *warnings) add(format string, args ...any) {
	if len(w.list) == maxWarnings-1 {
		w.more++
		return
	}
	w.list = append(w.list, fmt.Sprintf(format, args...))
}

func (w *warnings) all() []string {
	if w.more == 0 {
		return w.list
	}
	return append(w.list, fmt.Sprintf("and %d more like these", w.more))
}

// take reads a field, and notes one that can't be read.
func take[T any](w *warnings, field string, raw json.RawMessage, read func(json.RawMessage) (T, bool)) T {
	v, ok := read(raw)
	if !ok {
		w.add("%s is not usable and is left out", field)
	}
	return v
}

// decodeTask reads the "data" object. An error means that it is no object or its
// clips are beyond any measure; everything less is a warning.
func decodeTask(data json.RawMessage) (Task, error) {
	var raw rawTask
	if absent(data) {
		return Task{}, errors.New("it has no data")
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return Task{}, errors.New("its data is not an object")
	}
	t := Task{Raw: data}
	var w warnings
	id := raw.ExportTaskID
	if blank, isText := text(id); absent(id) || isText && blank == "" {
		id = raw.ID
	}
	t.ExportTaskID = take(&w, "export_task_id", id, label)
	t.Name = take(&w, "name", raw.Name, shortText)
	t.Status = normalStatus(take(&w, "status", raw.Status, shortText))
	t.ErrorMessage = take(&w, "error_message", raw.ErrorMessage, shortText)
	t.ExpireAt = take(&w, "expire_at", raw.ExpireAt, moment)
	cost := raw.CostUsage
	if absent(cost) {
		cost = raw.APIUnitsUsage
	}
	t.CostUsage = take(&w, "cost_usage", cost, amount)
	units, ok := number(cost)
	said, _ := numberLiteral(cost)
	t.Free = ok && units == 0 && said != ""
	if err := decodeClips(raw.Clips, &t, &w); err != nil {
		return Task{}, err
	}
	t.Warnings = w.all()
	return t, nil
}

// Oddities says what is unusable in a task as it was answered, see [Task.Raw] and
// [Task.Warnings].
func Oddities(raw json.RawMessage) []string {
	task, err := decodeTask(raw)
	if err != nil {
		return nil // it was readable when it came
	}
	return task.Warnings
}

// normalStatus is forgiving about case and spaces of the statuses that we know.
func normalStatus(s string) Status {
	if known := Status(strings.ToUpper(strings.TrimSpace(s))); known.Known() {
		return known
	}
	return Status(s)
}

// decodeClips reads the clips one at a time, so that many of them cost no more
// memory than they say.
func decodeClips(raw json.RawMessage, t *Task, w *warnings) error {
	if absent(raw) {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('[') {
		w.add("clips is not a list and is left out")
		return nil //nolint:nilerr // said as a warning: what else the answer says still counts
	}
	at := make(map[int]int)
	for n := 0; dec.More(); n++ {
		if n == maxClips {
			return fmt.Errorf("it lists more than %d clips", maxClips)
		}
		var one json.RawMessage
		if err := dec.Decode(&one); err != nil {
			return errors.New("its clips are not valid JSON")
		}
		clip, ok := decodeClip(one, n, w)
		if !ok {
			if !absent(one) {
				t.Nameless++
			}
			continue
		}
		first, seen := at[clip.Idx]
		if !seen {
			at[clip.Idx] = len(t.Clips)
			t.Clips = append(t.Clips, clip)
			continue
		}
		w.add("clip %d is listed twice; the first that has a link counts", clip.Idx)
		if t.Clips[first].ExportLink == "" {
			t.Clips[first] = clip
		}
	}
	return nil
}

// decodeClip reads the nth clip; ok is false if nobody could say which it is.
func decodeClip(one json.RawMessage, n int, w *warnings) (Clip, bool) {
	var raw rawClip
	if absent(one) || json.Unmarshal(one, &raw) != nil {
		w.add("entry %d of clips is not an object and is left out", n)
		return Clip{}, false
	}
	idx, ok := integer(raw.Idx)
	if blank, _ := numberLiteral(raw.Idx); blank == "" || !ok || idx < 0 || idx > maxIdx {
		w.add("entry %d of clips has no usable idx and is left out", n)
		return Clip{}, false
	}
	c := Clip{Idx: int(idx)}
	where := "clip " + strconv.Itoa(c.Idx) + ": "
	c.Title = take(w, where+"title", raw.Title, shortText)
	c.BeginMS = take(w, where+"begin_ms", raw.BeginMS, integer)
	c.EndMS = take(w, where+"end_ms", raw.EndMS, integer)
	c.Thumbnail = take(w, where+"thumbnail", raw.Thumbnail, address)
	c.Desc = take(w, where+"desc", raw.Desc, shortText)
	c.ExportLink = take(w, where+"export_link", raw.ExportLink, address)
	c.Score = take(w, where+"score", raw.Score, number)
	c.Tags = take(w, where+"tags", raw.Tags, decodeTags)
	if c.ExportLink == "" {
		c.Odd = oddLink(one)
	}
	return c, true
}

// decodeTags reads a list of strings, leaving out what isn't one.
func decodeTags(raw json.RawMessage) (tags []string, ok bool) {
	if absent(raw) {
		return nil, true
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('[') {
		return nil, false
	}
	ok = true
	for dec.More() {
		var one json.RawMessage
		if dec.Decode(&one) != nil || len(tags) == maxTags {
			return tags, false
		}
		s, isText := text(one)
		if !isText || absent(one) {
			ok = false
			continue
		}
		tags = append(tags, short(s, maxTag))
	}
	return tags, ok
}

// frame is a JSON container that is still open.
type frame struct {
	object  bool
	wantKey bool
	key     string
}

// salvageID looks for the task's id in an answer that broke off: a JSON document
// whose beginning is sound. Knowing it keeps a paid export from being lost.
func salvageID(body []byte) string {
	dec := json.NewDecoder(bytes.NewReader(trimMark(body)))
	var open []frame
	id := "" // from "id", which is less telling
	for {
		tok, err := dec.Token()
		if err != nil {
			return id
		}
		if d, ok := tok.(json.Delim); ok && (d == '{' || d == '[') {
			open = append(open, frame{object: d == '{', wantKey: d == '{'})
			continue
		} else if ok {
			open = open[:len(open)-1]
		}
		if len(open) == 0 {
			return id
		}
		in := &open[len(open)-1]
		word, isText := tok.(string)
		if in.wantKey && isText {
			in.key, in.wantKey = word, false
			continue
		}
		// An id counts at the top and inside "data" only.
		inData := len(open) == 2 && open[0].key == "data"
		if usable := isText && usableID(word); usable && in.key == "export_task_id" && (inData || len(open) == 1) {
			return word
		} else if usable && in.key == "id" && inData {
			id = word
		}
		in.wantKey = in.object
	}
}
