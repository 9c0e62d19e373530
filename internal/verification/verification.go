// Package verification reads the whole archive again over time, one part of it after
// the other, and remembers in S3 what was proven when:
//
//	<prefix>/_verified/<parts>/<part>.json
//
// An export belongs to a part by a hash of its manifest's key. All parts together are
// all exports, whatever is archived meanwhile, and nothing has to be counted or kept
// in order. A proof covers a range of hashes, so that proofs in 30 parts and in 7 tell
// of the same archive.
package verification

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/storage"
)

// MaxParts is the largest number of parts.
const MaxParts = 1000

// maxBad bounds the damaged files that a proof names.
const maxBad = 1000

// Part is a share of the archive: the Number-th, from 1, of Of.
type Part struct{ Number, Of int }

// ParsePart reads a part such as 3/30.
func ParsePart(s string) (Part, error) {
	number, of, _ := strings.Cut(s, "/")
	n, err := strconv.Atoi(number)
	all, err2 := strconv.Atoi(of)
	p := Part{n, all}
	if err != nil || err2 != nil || all < 1 || all > MaxParts || n < 1 || n > all {
		return p, fmt.Errorf("a part is N/OF, from 1/1 to %d/%d, not %q", MaxParts, MaxParts, s)
	}
	return p, nil
}

func (p Part) String() string { return fmt.Sprintf("%d/%d", p.Number, p.Of) }

// Has reports whether the export with this manifest is in the part.
func (p Part) Has(manifestKey string) bool {
	h := hash(manifestKey)
	return p.from() <= h && h < p.to()
}

// The hashes in a part are from from up to, and without, to.
func (p Part) from() uint64 { return edge(p.Number-1, p.Of) }
func (p Part) to() uint64   { return edge(p.Number, p.Of) }

const hashes = 1 << 32

func edge(n, of int) uint64 { return uint64(n) * hashes / uint64(of) }

func hash(manifestKey string) uint64 {
	sum := sha256.Sum256([]byte(manifestKey))
	return uint64(binary.BigEndian.Uint32(sum[:4]))
}

// Proof is what the verification of a part found.
type Proof struct {
	Part    int       `json:"part"`
	Parts   int       `json:"parts"`
	Began   time.Time `json:"began"`
	Ended   time.Time `json:"ended"`
	Exports int       `json:"exports"`
	Files   int       `json:"files"`
	Bytes   int64     `json:"bytes"`
	Bad     []Bad     `json:"bad,omitempty"` // the first of them
}

// Bad is a file that is not what its manifest says.
type Bad struct {
	Manifest string `json:"manifest"`
	Key      string `json:"key"`
	Problem  string `json:"problem"`
}

func (p Proof) part() Part { return Part{p.Part, p.Parts} }

// Archive is what is verified; *storage.Archive is one.
type Archive interface {
	Manifests(ctx context.Context) iter.Seq2[storage.Listed, error]
	Verify(ctx context.Context, manifestKey string) (storage.Report, error)
}

// Service verifies parts and keeps their proofs.
type Service struct {
	archive Archive
	kept    storage.Kept
	now     func() time.Time
}

// New returns the verification of an archive.
func New(a *storage.Archive) *Service {
	return &Service{archive: a, kept: a.Kept("verified"), now: time.Now}
}

// Verify reads every file of a part again and keeps the proof. Each report is given
// to each, which may be nil; damaged files are in the proof. After an error, something
// could not be looked at, and nothing is proven.
func (s *Service) Verify(ctx context.Context, part Part, each func(storage.Report)) (Proof, error) {
	p := Proof{Part: part.Number, Parts: part.Of, Began: s.now().UTC()}
	for o, err := range s.archive.Manifests(ctx) {
		if err != nil {
			return p, err
		}
		if !part.Has(o.Key) {
			continue
		}
		r, err := s.archive.Verify(ctx, o.Key)
		var f *fault.Fault
		if errors.As(err, &f) && f.Class == fault.Terminal { // the manifest itself is damaged
			r = storage.Report{Manifest: o.Key, Files: []storage.FileReport{{Key: o.Key, Problem: fault.SentenceOf(err)}}}
		} else if err != nil {
			return p, err
		}
		p.add(r)
		if each != nil {
			each(r)
		}
	}
	p.Ended = s.now().UTC()
	body, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return p, err
	}
	return p, s.kept.Write(ctx, fmt.Sprintf("%04d/%04d.json", part.Of, part.Number), "application/json", body)
}

func (p *Proof) add(r storage.Report) {
	p.Exports++
	for _, f := range r.Files {
		p.Files++
		p.Bytes += f.Size
		if f.Problem != "" && len(p.Bad) < maxBad {
			p.Bad = append(p.Bad, Bad{r.Manifest, f.Key, f.Problem})
		}
	}
}

// maxProof bounds a proof that is read, in bytes.
const maxProof = 4 << 20

// State reads all proofs. What is not one is passed over.
func (s *Service) State(ctx context.Context) (State, error) {
	var st State
	for o, err := range s.kept.List(ctx) {
		if err != nil {
			return State{}, err
		}
		body, _, err := s.kept.Read(ctx, o.Key, maxProof)
		if err != nil {
			return State{}, err
		}
		var p Proof
		if json.Unmarshal(body, &p) == nil && p.Part >= 1 && p.Part <= p.Parts && p.Parts <= MaxParts {
			st.proofs = append(st.proofs, p)
		}
	}
	slices.SortFunc(st.proofs, func(a, b Proof) int { return b.Began.Compare(a.Began) })
	return st, nil
}

// State is what was proven when.
type State struct {
	proofs []Proof // the latest first
}

// Of returns when the export was last verified that was archived then, and what was
// found; the zero time if it was not yet.
func (st State) Of(manifestKey string, archived time.Time) (time.Time, []Bad) {
	for _, p := range st.proofs {
		if !p.part().Has(manifestKey) || p.Began.Before(archived) {
			continue
		}
		var bad []Bad
		for _, b := range p.Bad {
			if b.Manifest == manifestKey {
				bad = append(bad, b)
			}
		}
		return p.Began, bad
	}
	return time.Time{}, nil
}

// Oldest returns since when some part of the archive was not verified, or, before all
// of it has been once, since when that is waited for; the zero time without any proof.
func (st State) Oldest() time.Time {
	if len(st.proofs) == 0 {
		return time.Time{}
	}
	edges := []uint64{0}
	for _, p := range st.proofs {
		edges = append(edges, p.part().from(), p.part().to())
	}
	slices.Sort(edges)
	first := st.proofs[len(st.proofs)-1].Began
	oldest := st.proofs[0].Began
	for _, e := range slices.Compact(edges) {
		if e == hashes {
			break
		}
		last := first
		if i := slices.IndexFunc(st.proofs, func(p Proof) bool { return p.part().from() <= e && e < p.part().to() }); i >= 0 {
			last = st.proofs[i].Began
		}
		if last.Before(oldest) {
			oldest = last
		}
	}
	return oldest
}

// Bad are the files that were damaged when they were last verified.
func (st State) Bad() []Bad {
	var all []Bad
	for i, p := range st.proofs {
		for _, b := range p.Bad {
			if !slices.ContainsFunc(st.proofs[:i], func(later Proof) bool { return later.part().Has(b.Manifest) }) {
				all = append(all, b)
			}
		}
	}
	return all
}

// due is the part to verify next where the archive has so many, each of which is
// verified once every while: one that never was, or the one whose proof is the oldest;
// false while the time of the last one has not passed.
func (st State) due(parts int, every time.Duration, now time.Time) (Part, bool) {
	last := make([]time.Time, parts)
	for _, p := range slices.Backward(st.proofs) {
		if p.Parts != parts {
			continue
		}
		if now.Sub(p.Began) < every/time.Duration(parts) {
			return Part{}, false
		}
		last[p.Part-1] = p.Began
	}
	next := 0
	for i := range last {
		if last[i].Before(last[next]) {
			next = i
		}
	}
	return Part{next + 1, parts}, true
}
