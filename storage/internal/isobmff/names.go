package isobmff

import "bytes"

// signatures are the first bytes of what else comes in a clip's place.
var signatures = []struct{ head, name string }{
	{"\x1a\x45\xdf\xa3", "as WebM and Matroska do"},
	{"GIF8", "as GIF images do"},
	{"G", "as MPEG transport streams do"},
	{"\x00\x00\x01\xba", "as MPEG program streams do"},
	{"\x00\x00\x01\xb3", "as MPEG video streams do"},
	{"\x00\x00\x00\x01", "as bare H.264 streams do"},
	{"RIFF", "as AVI does"},
	{"FLV", "as Flash video does"},
	{"OggS", "as Ogg does"},
	{"\x30\x26\xb2\x75", "as Windows Media does"},
	{"ID3", "as MP3 does"},
	{"#EXT", "as HLS playlists do"},
	{"\x89PNG", "as PNG images do"},
	{"\xff\xd8\xff", "as JPEG images do"},
	{"\x1f\x8b", "as gzip does"},
	{"PK", "as ZIP archives do"},
	{"<", "as pages of HTML or XML do"},
	{"{", "as JSON does"},
	{"%PDF", "as PDF does"},
	{"\x00\x00\x00\x00", "with zeros"},
}

// nameOf says what a file may be that begins with head.
func nameOf(head []byte) string {
	for _, s := range signatures {
		if bytes.HasPrefix(head, []byte(s.head)) {
			return s.name
		}
	}
	return "not with a box of MP4 or QuickTime"
}
