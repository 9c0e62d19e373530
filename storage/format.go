package storage

import (
	"bytes"

	"github.com/clipferry/clipferry/storage/internal/isobmff"
)

// imageHeadLen is how many first bytes identify an image's format.
const imageHeadLen = 16

type format struct {
	contentType string
	ending      string // with its dot
}

// The formats of videos. A key ends as the format says.
var (
	mp4       = format{"video/mp4", ".mp4"}
	quickTime = format{"video/quicktime", ".mov"}
)

// videoHeadLen is how many first bytes identify a video's format.
const videoHeadLen = 16

// videoFormat identifies a video by its first bytes.
func videoFormat(head []byte) format {
	w := isobmff.New(-1)
	_, _ = w.Write(head) // what is no video is refused when all of it is read
	return formatOf(w)
}

// formatOf identifies a video by what has been walked over.
func formatOf(w *isobmff.Walker) format {
	if w.QuickTime() {
		return quickTime
	}
	return mp4
}

// imageSignatures are the first bytes of the formats that thumbnails come in; a
// zero byte in the mask matches anything.
var imageSignatures = []struct {
	format
	head, mask []byte
}{
	{format{"image/jpeg", ".jpg"}, []byte("\xff\xd8\xff"), nil},
	{format{"image/png", ".png"}, []byte("\x89PNG\r\n\x1a\n"), nil},
	{format{"image/gif", ".gif"}, []byte("GIF8"), nil},
	{format{"image/webp", ".webp"}, []byte("RIFF\x00\x00\x00\x00WEBP"), []byte("\xff\xff\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff")},
	{format{"image/avif", ".avif"}, []byte("\x00\x00\x00\x00ftypavif"), []byte("\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff")},
}

// imageFormat identifies an image by its first bytes.
func imageFormat(head []byte) (format, bool) {
	for _, s := range imageSignatures {
		if len(head) < len(s.head) {
			continue
		}
		got := bytes.Clone(head[:len(s.head)])
		for i := range s.mask {
			got[i] &= s.mask[i]
		}
		if bytes.Equal(got, s.head) {
			return s.format, true
		}
	}
	return format{}, false
}
