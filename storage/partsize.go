package storage

// layout is how a file is cut into parts. The zero size is never cut.
type layout struct {
	size int64 // of the file, -1 when it is not known
	part int64 // of every part but the last
}

// partSize is the part size for a file of size bytes (-1 for unknown): the
// configured one, larger where 10,000 of those would not do.
func (a *Archive) partSize(size int64) int64 {
	if size < 0 {
		size = a.opts.Source.MaxSize()
	}
	const mib = 1 << 20
	need := (size + maxParts - 1) / maxParts
	need = (need + mib - 1) / mib * mib
	return max(a.opts.PartSize, need)
}

// count is the number of parts; only for a known size.
func (l layout) count() int { return int((l.size + l.part - 1) / l.part) }

// span is where part n (from 0) begins, and how long it is.
func (l layout) span(n int) (offset, length int64) {
	offset = int64(n) * l.part
	return offset, min(l.part, l.size-offset)
}
