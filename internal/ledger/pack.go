package ledger

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/clipferry/clipferry/internal/export"
	"github.com/clipferry/clipferry/storage"
)

// An archived export is kept for weeks to be looked at, and to recognize its id: short,
// in its document alone. What goes is what nobody asks Redis for any more: links,
// descriptions, tags, proofs, thumbnails and the provider's answer, all of which the
// manifest has, and what steps needed, and what follows from the rest: the digest of the
// request, its id, and the keys of clips that are named for their titles. What is left is
// compressed with a dictionary of what is in all of them, but for SHA-256 and size of the
// clips, which nothing compresses: they follow. [export.Record.Short] says so.

// packedMark is the first byte of a packed document; JSON begins with a brace.
const packedMark = "\x02"

// maxUnpacked bounds a document that is unpacked, in bytes.
const maxUnpacked = 16 << 20

// packedRecord is a record with all its clips.
type packedRecord struct {
	*export.Record
	Clips []packedClip `json:"c"`
}

type packedClip struct {
	Idx    int    `json:"i"`
	Title  string `json:"t,omitempty"`
	Key    string `json:"k"` // only its ending, where the rest follows from the manifest's and the title
	Faults int    `json:"f,omitempty"`
}

// packable says whether all of the record that is worth keeping is there and final.
// One that is odd is kept as it is.
func packable(r *export.Record) bool {
	if r.State != export.Archived || r.NeedsCare() || len(r.Clips) != r.ClipCount {
		return false
	}
	for _, c := range r.Clips {
		if sum, err := hex.DecodeString(c.Object.SHA256); err != nil || len(sum) != sha256.Size || c.State != export.ClipArchived {
			return false
		}
	}
	return true
}

// pack returns the document of a packable record.
func pack(r *export.Record) (string, error) {
	short := *r
	short.ID, short.Trace, short.IntentBy, short.Settled = "", nil, "", nil
	for _, t := range []*time.Time{&short.IntentAt, &short.FinishedAt, &short.RefusedAt, &short.NotBefore, &short.PollAt, &short.SealAt, &short.NewsAt} {
		*t = time.Time{}
	}
	short.SubmittedAt, short.ReadAt = r.SubmittedAt.Truncate(time.Millisecond), r.ReadAt.Truncate(time.Second)
	if short.Digest == digestOf(r.Request) {
		short.Digest = ""
	}
	p := packedRecord{Record: &short}
	var objects []byte
	for _, idx := range slices.Sorted(maps.Keys(r.Clips)) {
		c := r.Clips[idx]
		sum, err := hex.DecodeString(c.Object.SHA256)
		if err != nil || len(sum) != sha256.Size || c.State != export.ClipArchived {
			return "", fmt.Errorf("pack export %s: clip %d is not an archived one", r.ID, idx)
		}
		key := c.Object.Key
		if ending := path.Ext(key); key == clipKey(r, idx, c.Title, ending) {
			key = ending
		}
		p.Clips = append(p.Clips, packedClip{Idx: idx, Title: c.Title, Key: key, Faults: c.Faults})
		objects = binary.AppendVarint(append(objects, sum...), c.Object.Size)
		short.ArchivedBytes -= c.Object.Size
	}
	var out bytes.Buffer
	out.WriteString(packedMark)
	w, err := flate.NewWriterDict(&out, flate.BestCompression, dictionary)
	if err == nil {
		to := json.NewEncoder(w)
		to.SetEscapeHTML(false) // the request stays what its digest is of
		err = to.Encode(p)
	}
	if err == nil {
		err = w.Close()
	}
	out.Write(objects)
	return out.String(), err
}

// unpack reads a packed document.
func unpack(id, doc string) (*export.Record, error) {
	from := strings.NewReader(strings.TrimPrefix(doc, packedMark))
	text, err := io.ReadAll(io.LimitReader(flate.NewReaderDict(from, dictionary), maxUnpacked)) // not a byte further
	if err != nil {
		return nil, err
	}
	p := packedRecord{Record: &export.Record{}}
	if err := json.Unmarshal(text, &p); err != nil {
		return nil, err
	}
	r := p.Record
	r.ID, r.Short, r.Clips = id, true, make(map[int]*export.Clip, len(p.Clips))
	if r.Digest == "" {
		r.Digest = digestOf(r.Request)
	}
	for _, c := range p.Clips {
		var sum [sha256.Size]byte
		if _, err := io.ReadFull(from, sum[:]); err != nil {
			return nil, err
		}
		size, err := binary.ReadVarint(from)
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(c.Key, ".") {
			c.Key = clipKey(r, c.Idx, c.Title, c.Key)
		}
		r.ArchivedBytes += size
		r.Clips[c.Idx] = &export.Clip{
			Idx: c.Idx, State: export.ClipArchived, Title: c.Title, Faults: c.Faults,
			Object: export.Object{Key: c.Key, Size: size, SHA256: hex.EncodeToString(sum[:])},
		}
	}
	return r, nil
}

// digestOf is [tasks.Export.Digest] of a request, as records have them.
func digestOf(request []byte) string {
	sum := sha256.Sum256(request)
	return hex.EncodeToString(sum[:])
}

// clipKey is the key of a clip that is named for its title, beside the manifest.
func clipKey(r *export.Record, idx int, title, ending string) string {
	return strings.TrimSuffix(r.Manifest, "manifest.json") + storage.ClipName(idx, title) + ending
}

// dictionary is what packed documents have in common, the likeliest last. Another one
// needs another mark.
var dictionary = []byte(`,"labels":{"batch":","priority":"low","account":"","tenant":""kind":"clips","duplicates":["","previous":["` +
	`"notify":{"webhook":"https://","task_type":"","queue":""},"name":"","digest":"","doubts":1,` +
	`exports//clip-000-.mp4"},{"i":10,"t":"","k":".mov"},{"i":11,"t":"","k":".mp4"},{"i":12,"t":"` +
	`{"id":"","state":"archived","request":{"project_id":"","clip_indices":[0,1,2,3,4],` +
	`"target_lang":"en","resolution":"FHD_1080","HD_720","SD_480","enable_caption":true,"caption_display":"both","original",` +
	`"cc_style_tpl":"temp-7","enable_ai_hook":true,"ai_hook_script_style":"serious","ai_hook_position":"beginning",` +
	`"enable_ai_reframe":true,"ratio":"RATIO_9_16"},"project_id":"","wanted":[0,1,2,3,4],` +
	`"created_at":"2026-01-01T00:00:00.000000000Z","updated_at":"2026-01-01T00:00:00.000000000Z","round":1,"attempts":1,` +
	`"export_task_id":"","provider_status":"SUCCEEDED","outcome":"succeeded","submitted_at":"2026-01-01T00:00:00.000Z",` +
	`"expire_at":"2026-01-01T00:00:00.000Z","cost_usage":48,"receipt":"done","receipts":2,"step":3,"polls":3,` +
	`"read_at":"2026-01-01T00:00:00Z","seal_round":1,"manifest":"exports//manifest.json","clip_count":5,"archived_count":5,` +
	`"c":[{"i":0,"t":"","k":".mp4"},{"i":1,"t":"","k":".mp4"},{"i":2,"t":"","k":".mp4"},{"i":3,"t":"","k":".mp4"},` +
	`{"i":4,"t":"","k":".mp4"},{"i":5,"t":"","k":".mp4"},{"i":6,"t":"","k":".mp4"}]}`)
