package storage

import (
	"bytes"

	"github.com/clipferry/clipferry/storage/internal/isobmff"
)

// headLen is how many first bytes identify a file's format.
const headLen = 16

type format struct {
	contentType string
	ending      string // with its dot
}

// The formats of videos. A key ends as the format says. The last two have no boxes
// and are archived only as they are served, see [ProofServedTwice].
var (
	mp4       = format{"video/mp4", ".mp4"}
	quickTime = format{"video/quicktime", ".mov"}
	webM      = format{"video/webm", ".webm"}
	mpegTS    = format{"video/mp2t", ".ts"}
)

// videoFormat identifies a video by its first bytes; false if they are of none.
func videoFormat(head []byte) (format, bool) {
	w := isobmff.New(-1)
	_, err := w.Write(head)
	switch {
	case err == nil:
		return formatOf(w), len(head) >= 8
	case bytes.HasPrefix(head, []byte("\x1a\x45\xdf\xa3")):
		return webM, true
	case len(head) >= 4 && head[0] == 0x47 && head[1]&0x80 == 0 && head[3]&0x30 != 0: // a packet with a payload, no error
		return mpegTS, !bytes.HasPrefix(head, []byte("GIF8"))
	}
	return mp4, false
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
