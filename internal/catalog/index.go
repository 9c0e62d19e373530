package catalog

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/clipferry/clipferry/internal/export"
)

// Index is the catalog in memory. It is safe for concurrent use.
type Index struct {
	mu       sync.RWMutex
	rows     []row
	exports  []exportRow
	exportOf map[string]uint32 // by id
	interned []string
	internOf map[string]uint32
	labels   []map[string]string // interned
	bytes    [256]int64          // how often each is in the texts
	texts    arena
	rest     arena
	live     int
	status   Status
}

// row is one clip. What a search filters and sorts by is in its fields, the rest packed.
type row struct {
	text, rest ref
	export     uint32
	idx        int32
	file       uint32 // number of the last file that had it
	revision   int64
	score      float32
	durationMS uint32
	gone       bool // replaced, or in no file any more
}

// exportRow is one export. Its numbers are of interned texts.
type exportRow struct {
	id, task, name, manifest                                            string
	project, kind, tenant, account, settings, labels, resolution, ratio uint32
	cost                                                                float64
	created, archived                                                   int64 // Unix milliseconds
	revision                                                            int64
	clips                                                               []uint32 // its rows
}

// NewIndex returns an empty index.
func NewIndex() *Index {
	x := &Index{exportOf: map[string]uint32{}, internOf: map[string]uint32{}}
	x.intern("")
	return x
}

// Add takes lines up, each in the place of one with a lower revision. Of an export
// that was archived twice, by two manifests, the later one counts.
func (x *Index) Add(lines ...Line) { x.addFrom(0, lines) }

// addAtOnce is how many clips are added under one lock: searches go on between them.
const addAtOnce = 512

// addFrom is Add of lines that are in the file with this number.
func (x *Index) addFrom(file uint32, lines []Line) {
	for chunk := range slices.Chunk(lines, addAtOnce) {
		x.add(file, chunk)
	}
}

func (x *Index) add(file uint32, lines []Line) {
	lines = x.unknown(file, lines)
	type made struct {
		kept             texts
		original, normal string
	}
	ready := make([]made, len(lines))
	for i := range lines { // which takes most of the time
		kept := textsOf(&lines[i])
		ready[i] = made{kept, kept.joined(asIs), kept.joined(Normalize)}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := range lines {
		l := &lines[i]
		at := x.export(l)
		e := &x.exports[at]
		if l.Revision < e.revision && l.Manifest != e.manifest || !x.makeWay(e, l) {
			continue
		}
		var p packer
		x.pack(&p, l, ready[i].kept, e.manifest, ready[i].original, ready[i].normal)
		e.clips = append(e.clips, uint32(len(x.rows)))
		x.rows = append(x.rows, row{
			text: x.texts.add([]byte(ready[i].normal)), rest: x.rest.add(p.b), export: at, idx: int32(l.Idx), file: file,
			revision: l.Revision, score: float32(l.Score), durationMS: uint32(min(max(0, l.DurationMS), 1<<32-1)),
		})
		x.live++
		for _, b := range []byte(ready[i].normal) {
			x.bytes[b]++
		}
	}
}

// unknown are those of the lines that are not in the index. The others are noted to be
// in this file, too.
func (x *Index) unknown(file uint32, lines []Line) []Line {
	x.mu.Lock()
	defer x.mu.Unlock()
	var left []Line
	for _, l := range lines {
		if r := x.row(l.ExportID, l.Idx); r != nil && r.revision >= l.Revision {
			if r.revision == l.Revision {
				r.file = file
			}
			continue
		}
		left = append(left, l)
	}
	return left
}

// row is that of a clip, nil for none.
func (x *Index) row(exportID string, idx int) *row {
	at, known := x.exportOf[exportID]
	if !known {
		return nil
	}
	for _, n := range x.exports[at].clips {
		if r := &x.rows[n]; r.idx == int32(idx) {
			return r
		}
	}
	return nil
}

// in reports whether one of these files is the last that had some clip.
func (x *Index) in(files map[uint32]bool) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(files) > 0 && slices.ContainsFunc(x.rows, func(r row) bool { return !r.gone && files[r.file] })
}

// dropFiles drops the clips that are in none but these files.
func (x *Index) dropFiles(files map[uint32]bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := range x.exports {
		e := &x.exports[i]
		e.clips = slices.DeleteFunc(e.clips, func(n uint32) bool {
			r := &x.rows[n]
			r.gone = files[r.file]
			return r.gone
		})
	}
	x.live = 0
	for i := range x.rows {
		x.live += int(flag(!x.rows[i].gone))
	}
	if len(x.rows) > 2*x.live+addAtOnce {
		x.repack()
	}
}

// repack frees what is kept of clips that are gone.
func (x *Index) repack() {
	y := NewIndex()
	for i := range x.rows {
		if r := &x.rows[i]; !r.gone {
			y.add(r.file, []Line{x.line(r)})
		}
	}
	x.rows, x.exports, x.exportOf, x.interned, x.internOf, x.labels = y.rows, y.exports, y.exportOf, y.interned, y.internOf, y.labels
	x.texts, x.rest, x.live, x.bytes = y.texts, y.rest, y.live, y.bytes
}

func asIs(s string) string { return s }

// makeWay takes the older row of a clip away; false when it is not older.
func (x *Index) makeWay(e *exportRow, l *Line) bool {
	for i, at := range e.clips {
		if r := &x.rows[at]; r.idx == int32(l.Idx) {
			if r.revision >= l.Revision {
				return false
			}
			r.gone = true
			x.live--
			e.clips = slices.Delete(e.clips, i, i+1)
			return true
		}
	}
	return true
}

// export returns the place of the line's export, with what the newest line says of it.
func (x *Index) export(l *Line) uint32 {
	at, known := x.exportOf[l.ExportID]
	if !known {
		at = uint32(len(x.exports))
		x.exports = append(x.exports, exportRow{id: strings.Clone(l.ExportID), revision: -1})
		x.exportOf[x.exports[at].id] = at
	}
	e := &x.exports[at]
	if e.revision >= l.Revision {
		return at
	}
	e.revision = l.Revision
	e.task, e.name = strings.Clone(l.ExportTaskID), strings.Clone(l.ExportName)
	if e.manifest != l.Manifest && len(e.clips) > 0 { // their keys are kept as they differ from its own
		x.dropClips(e)
	}
	e.manifest = strings.Clone(l.Manifest)
	e.project, e.kind, e.tenant, e.account = x.intern(l.ProjectID), x.intern(string(l.Kind)), x.intern(l.Tenant), x.intern(l.Account)
	e.settings, e.resolution, e.ratio = x.intern(string(l.Settings)), x.intern(l.Resolution), x.intern(l.Ratio)
	e.labels = x.internLabels(l.Labels)
	e.cost, e.created, e.archived = l.CostUsage, l.CreatedAt.UnixMilli(), l.ArchivedAt.UnixMilli()
	return at
}

// dropClips takes the clips of an export away that was archived once more, elsewhere.
func (x *Index) dropClips(e *exportRow) {
	for _, at := range e.clips {
		x.rows[at].gone = true
		x.live--
	}
	e.clips = nil
}

func (x *Index) intern(s string) uint32 {
	if n, ok := x.internOf[s]; ok {
		return n
	}
	n := uint32(len(x.interned))
	s = strings.Clone(s)
	x.interned = append(x.interned, s)
	x.labels = append(x.labels, nil)
	x.internOf[s] = n
	return n
}

func (x *Index) internLabels(labels map[string]string) uint32 {
	if len(labels) == 0 {
		return 0
	}
	b, _ := json.Marshal(labels) // of texts; sorted by name
	n := x.intern(string(b))
	if x.labels[n] == nil {
		x.labels[n] = maps.Clone(labels)
	}
	return n
}

// pack writes what is not in the row, the export or the text.
func (x *Index) pack(p *packer, l *Line, kept texts, manifest, original, normal string) {
	p.number(int64(len(kept.title)))
	p.number(int64(len(kept.desc)))
	p.number(int64(len(kept.tags)))
	for _, tag := range kept.tags {
		p.number(int64(len(tag)))
	}
	p.edits(normal, original)
	p.number(int64(math.Float64bits(l.Score)))
	p.number(l.BeginMS)
	p.number(l.EndMS)
	p.number(l.DurationMS)
	p.object(l.Object, manifest, x.intern)
	p.number(flag(l.Thumbnail != nil))
	if l.Thumbnail != nil {
		p.object(*l.Thumbnail, l.Key, x.intern)
	}
	p.text(truncate(l.Warning, maxTitle))
}

// line is the row as a line again.
func (x *Index) line(r *row) Line {
	e := &x.exports[r.export]
	l := Line{
		ExportID: e.id, Idx: int(r.idx), Revision: r.revision,
		ProjectID: x.interned[e.project], ExportTaskID: e.task, ExportName: e.name, Kind: export.TaskKind(x.interned[e.kind]), Tenant: x.interned[e.tenant],
		Account: x.interned[e.account], Labels: maps.Clone(x.labels[e.labels]),
		Resolution: x.interned[e.resolution], Ratio: x.interned[e.ratio], CostUsage: e.cost,
		CreatedAt: time.UnixMilli(e.created).UTC(), ArchivedAt: time.UnixMilli(e.archived).UTC(), Manifest: e.manifest,
	}
	if s := x.interned[e.settings]; s != "" {
		l.Settings = json.RawMessage(s)
	}
	u := unpacker{x.rest.get(r.rest)}
	lens := []int64{u.number(), u.number()}
	tags := u.number()
	for range tags {
		lens = append(lens, u.number())
	}
	size := int64(len("\n\n" + tagMark))
	for i, n := range lens {
		size += n
		if i >= 2 {
			size += int64(len(tagMark))
		}
	}
	original := u.edits(x.texts.get(r.text), size)
	l.Title, l.Desc, l.Tags = split(original, lens)
	l.Score = math.Float64frombits(uint64(u.number()))
	l.BeginMS, l.EndMS, l.DurationMS = u.number(), u.number(), u.number()
	l.Object = u.object(e.manifest, x.interned)
	if u.number() == 1 {
		thumb := u.object(l.Key, x.interned)
		l.Thumbnail = &thumb
	}
	l.Warning = u.text()
	return l
}

// split takes apart what texts.joined made of parts with these lengths.
func split(joined string, lens []int64) (title, desc string, tags []string) {
	cut := func(n int64) string {
		part := joined[:n]
		joined = joined[n+1:]
		return part
	}
	title, desc = cut(lens[0]), cut(lens[1])
	joined = joined[len(tagMark):]
	tags = []string{}
	for _, n := range lens[2:] {
		tags = append(tags, cut(n))
	}
	return title, desc, tags
}

// Len is the number of clips.
func (x *Index) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.live
}

// Clip returns one clip of an export.
func (x *Index) Clip(exportID string, idx int) (Line, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if r := x.row(exportID, idx); r != nil {
		return x.line(r), true
	}
	return Line{}, false
}

// Export returns the clips of an export in their order, what is known of the export
// in each of them; none for one that is not in the catalog.
func (x *Index) Export(id string) []Line {
	x.mu.RLock()
	defer x.mu.RUnlock()
	at, known := x.exportOf[id]
	if !known {
		return nil
	}
	var lines []Line
	for _, n := range x.exports[at].clips {
		lines = append(lines, x.line(&x.rows[n]))
	}
	slices.SortFunc(lines, func(a, b Line) int { return a.Idx - b.Idx })
	return lines
}
