package storage

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/clipferry/clipferry/internal/fault"
	"github.com/clipferry/clipferry/internal/link"
)

var (
	// errNoRanges means that the source is the same but sends it whole.
	errNoRanges = errors.New("the source ignores ranges or conditions")
	// errStreamCut means that a source that cannot be resumed broke off.
	errStreamCut = errors.New("the source broke off and cannot be resumed")
)

const (
	// maxReadAttempts bounds the attempts to read one part in a row without
	// progress worth the name, maxReadCuts those with some.
	maxReadAttempts = 6
	maxReadCuts     = 50
	readProgress    = 64 << 10
	// maxImageReads bounds how often a thumbnail is asked for.
	maxImageReads = 5
)

// response is an open response of a link, whose first bytes can be looked at.
type response struct {
	*link.Body
	buffered *bufio.Reader
}

func newResponse(b *link.Body) *response { return &response{b, bufio.NewReaderSize(b, headLen)} }

// peek returns the first bytes of what is still to be read.
func (r *response) peek() []byte {
	head, _ := r.buffered.Peek(headLen) // whoever reads meets the error again
	return head
}

// Read implements io.Reader.
func (r *response) Read(b []byte) (int, error) { return r.buffered.Read(b) }

// partSource reads parts of one version of a file.
type partSource struct {
	m     *mirror
	info  link.Info
	first *response // one that is open already, nil once it was used
	// slower is called every time that the source asked for less; may be nil.
	slower func()
}

// ranged says whether a broken read can go on where it broke.
func (s *partSource) ranged() bool {
	return s.info.Ranges && s.info.Validator() != "" && s.info.Size >= 0
}

// read fills b with the bytes from offset on. It goes on where it was cut,
// backs off, and gives up on what repeating cannot repair.
func (s *partSource) read(ctx context.Context, offset int64, b []byte) error {
	got, stuck := 0, 0
	for cuts := 0; ; cuts++ {
		n, err := s.readOnce(ctx, offset+int64(got), b[got:])
		s.m.addFetched(int64(n))
		if got += n; err == nil {
			return nil
		}
		if !s.ranged() {
			got = 0
		}
		if n >= readProgress {
			stuck = 0
		}
		stuck++
		if fault.RetryAfterOf(err) > 0 && s.slower != nil {
			s.slower()
		}
		if !resumable(err) || stuck >= maxReadAttempts || cuts >= maxReadCuts || !s.m.a.backoff.wait(ctx, stuck, err) {
			return err
		}
	}
}

// resumable says whether another read may succeed; wrong content is left
// to the caller, who may begin anew.
func resumable(err error) bool {
	return fault.ClassOf(err) == fault.Retry && !errors.Is(err, ErrContent) && !errors.Is(err, errNoRanges)
}

func (s *partSource) readOnce(ctx context.Context, offset int64, b []byte) (int, error) {
	body := s.first
	s.first = nil
	if body == nil {
		rg := link.Range{From: offset, To: -1}
		if s.ranged() {
			rg = link.Range{From: offset, To: offset + int64(len(b)) - 1, IfRange: s.info.Validator()}
		}
		opened, err := s.m.a.opts.Source.Open(ctx, s.m.job.Link, rg)
		if err != nil {
			return 0, err
		}
		body = newResponse(opened)
	}
	defer func() { _ = body.Close() }()
	if err := s.same(body.Body, offset); err != nil {
		return 0, err
	}
	n, err := io.ReadFull(body, b)
	if isCleanEnd(err) {
		err = fault.New(fault.Retry, "the export link ended early", io.ErrUnexpectedEOF)
	}
	return n, err
}

// same checks that a response is of this version of the file and begins at offset.
func (s *partSource) same(body *link.Body, offset int64) error {
	was, is := s.info, body.Info
	changed := is.Size != was.Size || (is.Validator() != "" && is.Validator() != was.Validator())
	switch {
	case changed && was.Validator() != "":
		return contentFault("the source has changed", link.ErrChanged)
	case changed:
		return contentFault(fmt.Sprintf("the source announces %d bytes after %d", is.Size, was.Size), link.ErrChanged)
	case body.From != offset, s.ranged() && is.Validator() == "":
		// a source that leaves the validator out may have ignored If-Range as well
		return errNoRanges
	}
	return nil
}

// isCleanEnd says that io.ReadFull met an end that the reader meant. A reader that
// broke off may wrap io.ErrUnexpectedEOF too, which is not the same.
func isCleanEnd(err error) bool {
	return err == io.EOF || err == io.ErrUnexpectedEOF //nolint:errorlint // see above
}

// fill reads from an open response until b is full or the file is over. One
// that breaks off is an error that wraps errStreamCut.
func (s *partSource) fill(b []byte) (n int, over bool, err error) {
	n, err = io.ReadFull(s.first, b)
	s.m.addFetched(int64(n))
	switch {
	case err == nil:
		return n, false, nil
	case isCleanEnd(err):
		return n, true, nil
	}
	return n, false, fault.New(fault.ClassOf(err), fault.SentenceOf(err), fmt.Errorf("%w: %w", errStreamCut, err))
}
