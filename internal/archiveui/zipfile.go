package archiveui

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"time"
)

// entry is a file in a ZIP: stored as it is, its size and CRC32 known beforehand.
type entry struct {
	name     string
	key      string
	size     int64
	crc      uint32
	modified time.Time
}

// zipFile is a ZIP that is nowhere: its headers are made when it is, and the files
// are read from S3 when their bytes are asked for. As everything in it is known
// beforehand, so is its length, and any part of it can be read alone. It is an
// [io.ReadSeeker] for one reader.
//
// archive/zip writes no ZIP64 field into the header before a raw file of 4 GiB or
// more, without which a reader of the stream doesn't know its length.
type zipFile struct {
	open     func(ctx context.Context, key string, offset int64) (io.ReadCloser, error)
	ctx      context.Context
	segments []segment
	size     int64

	at    int64 // of the next byte
	err   error // the first failure, which ends the reading
	body  io.ReadCloser
	of    int   // the segment that body is of
	next  int64 // byte of it that body gives next
	sum   uint32
	whole bool // body began at the first byte, so that sum is that of the file in the end
}

// segment is a part of the ZIP: bytes that are there, or a file in S3.
type segment struct {
	from, size int64
	bytes      []byte
	entry      *entry
}

const (
	zipVersion   = 45      // the first with ZIP64
	zipUTF8      = 1 << 11 // names are UTF-8
	zip32        = math.MaxUint32
	madeOnUnix   = 3 << 8
	ordinaryFile = 0o100644 << 16
)

func newZip(ctx context.Context, entries []entry, open func(context.Context, string, int64) (io.ReadCloser, error)) *zipFile {
	z := &zipFile{ctx: ctx, open: open, of: -1}
	var directory []byte
	for i := range entries {
		e := &entries[i]
		at := z.size
		z.add(segment{bytes: localHeader(e)})
		z.add(segment{entry: e, size: e.size})
		directory = appendDirectory(directory, e, at)
	}
	z.add(segment{bytes: appendEnd(directory, len(entries), z.size)})
	return z
}

func (z *zipFile) add(s segment) {
	if s.entry == nil {
		s.size = int64(len(s.bytes))
	}
	s.from = z.size
	z.segments = append(z.segments, s)
	z.size += s.size
}

// localHeader is what stands before a file.
func localHeader(e *entry) []byte {
	size, extra := uint32(min(e.size, zip32)), []byte(nil)
	if e.size >= zip32 {
		size = zip32
		extra = le16(extra, 1, 16) // ZIP64: both sizes
		extra = le64(extra, uint64(e.size), uint64(e.size))
	}
	date, clock := dosTime(e.modified)
	b := le32(nil, 0x04034b50)
	b = le16(b, zipVersion, zipUTF8, 0, clock, date)
	b = le32(b, e.crc, size, size)
	b = le16(b, uint16(len(e.name)), uint16(len(extra)))
	return append(append(b, e.name...), extra...)
}

// appendDirectory adds a file to the directory at the end.
func appendDirectory(b []byte, e *entry, at int64) []byte {
	size, offset := uint32(min(e.size, zip32)), uint32(min(at, zip32))
	var large []uint64
	if e.size >= zip32 {
		large = append(large, uint64(e.size), uint64(e.size))
	}
	if at >= zip32 {
		large = append(large, uint64(at))
	}
	var extra []byte
	if len(large) > 0 {
		extra = le64(le16(nil, 1, uint16(8*len(large))), large...)
	}
	date, clock := dosTime(e.modified)
	b = le32(b, 0x02014b50)
	b = le16(b, madeOnUnix|zipVersion, zipVersion, zipUTF8, 0, clock, date)
	b = le32(b, e.crc, size, size)
	b = le16(b, uint16(len(e.name)), uint16(len(extra)), 0, 0, 0)
	b = le32(b, ordinaryFile, offset)
	return append(append(b, e.name...), extra...)
}

// appendEnd adds what stands behind a directory that begins at from.
func appendEnd(directory []byte, files int, from int64) []byte {
	b, size := directory, int64(len(directory))
	if files >= math.MaxUint16 || size >= zip32 || from >= zip32 {
		b = le32(b, 0x06064b50)
		b = le64(b, 44)
		b = le16(b, madeOnUnix|zipVersion, zipVersion)
		b = le32(b, 0, 0)
		b = le64(b, uint64(files), uint64(files), uint64(size), uint64(from))
		b = le32(b, 0x07064b50, 0)
		b = le64(b, uint64(from+size))
		b = le32(b, 1)
	}
	n := uint16(min(files, math.MaxUint16))
	b = le32(b, 0x06054b50)
	b = le16(b, 0, 0, n, n)
	b = le32(b, uint32(min(size, zip32)), uint32(min(from, zip32)))
	return le16(b, 0)
}

func le16(b []byte, values ...uint16) []byte {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	return b
}

func le32(b []byte, values ...uint32) []byte {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

func le64(b []byte, values ...uint64) []byte {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

// dosTime is a time as a ZIP has it: UTC, in steps of two seconds, from 1980 on.
func dosTime(t time.Time) (date, clock uint16) {
	t = t.UTC()
	if t.Year() < 1980 || t.Year() > 2107 {
		return 1<<5 | 1, 0
	}
	return uint16(t.Day() + int(t.Month())<<5 + (t.Year()-1980)<<9), uint16(t.Second()/2 + t.Minute()<<5 + t.Hour()<<11)
}

// Seek moves to where the next Read begins.
func (z *zipFile) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += z.at
	case io.SeekEnd:
		offset += z.size
	}
	if offset < 0 {
		return 0, errors.New("a place before the beginning")
	}
	z.at = offset
	return offset, nil
}

// Read reads on. What S3 gives is compared with what was announced: bytes that are
// others than those that were archived fail, as a stream that ends early does.
func (z *zipFile) Read(p []byte) (int, error) {
	if z.err != nil {
		return 0, z.err
	}
	if z.at >= z.size {
		return 0, io.EOF
	}
	n, err := z.read(p)
	z.at += int64(n)
	z.err = err
	return n, err
}

func (z *zipFile) read(p []byte) (int, error) {
	i := z.segmentAt(z.at)
	s := &z.segments[i]
	in := z.at - s.from
	if s.entry == nil {
		return copy(p, s.bytes[in:]), nil
	}
	if z.of != i || z.next != in {
		if err := z.reopen(i, in); err != nil {
			return 0, err
		}
	}
	p = p[:min(int64(len(p)), s.size-in)]
	n, err := z.body.Read(p)
	if n == 0 && err != nil {
		n, err = z.resume(i, in, p, err)
	} else {
		err = nil // comes again, if it is one
	}
	z.next += int64(n)
	z.sum = crc32.Update(z.sum, crc32.IEEETable, p[:n])
	if err == nil && z.next == s.size && z.whole && z.sum != s.entry.crc {
		return 0, fmt.Errorf("%s has other bytes than those that were archived", s.entry.key)
	}
	return n, err
}

// maxResumes is how often a file whose stream broke is taken up without a byte.
const maxResumes = 3

// resume goes on with a file whose stream has ended too soon.
func (z *zipFile) resume(i int, in int64, p []byte, why error) (int, error) {
	sum, whole := z.sum, z.whole
	for range maxResumes {
		if z.ctx.Err() != nil {
			return 0, z.ctx.Err()
		}
		if err := z.reopen(i, in); err != nil {
			why = err
			continue
		}
		z.sum, z.whole = sum, whole
		n, err := z.body.Read(p)
		if n > 0 {
			return n, nil
		}
		why = err
	}
	if errors.Is(why, io.EOF) {
		why = io.ErrUnexpectedEOF
	}
	return 0, fmt.Errorf("%s: %w", z.segments[i].entry.key, why)
}

func (z *zipFile) reopen(i int, in int64) error {
	z.Close()
	body, err := z.open(z.ctx, z.segments[i].entry.key, in)
	if err != nil {
		return err
	}
	z.body, z.of, z.next, z.sum, z.whole = body, i, in, 0, in == 0
	return nil
}

// segmentAt is the one with the byte: the last that begins there or before and has bytes.
func (z *zipFile) segmentAt(at int64) int {
	low, high := 0, len(z.segments)
	for low < high {
		mid := (low + high) / 2
		if z.segments[mid].from+z.segments[mid].size <= at {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

// Close ends the request to S3 that is under way.
func (z *zipFile) Close() {
	if z.body != nil {
		_ = z.body.Close()
		z.body, z.of = nil, -1
	}
}
