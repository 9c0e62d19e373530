package archiveui

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/clipferry/clipferry/internal/catalog"
	"github.com/clipferry/clipferry/internal/telemetry/logkey"
)

// zip sends clips of an export as one file: those that are asked for by clip=N, else
// all. Its length is announced, a range of it can be asked for, and what goes wrong
// on the way breaks the connection, so that nobody takes a part for the whole.
func (u *UI) zip(w http.ResponseWriter, r *http.Request, v visit) error {
	if v.shared != nil && v.shared.idx != allClips {
		return errNotFound
	}
	chosen, err := chosenClips(r.URL.Query()["clip"], v.clips)
	if err != nil {
		return err
	}
	entries, etag, err := u.entriesOf(chosen)
	if err != nil {
		return err
	}
	select {
	case u.streams <- struct{}{}:
		defer func() { <-u.streams }()
	default:
		return errBusy
	}
	z := newZip(r.Context(), entries, u.o.Files.ReadFrom)
	defer z.Close()
	h := w.Header()
	h.Set("Content-Type", "application/zip")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": zipName(v.clips[0])}))
	h.Set("ETag", etag)
	h.Set("Cache-Control", "private, no-cache")
	if strings.Contains(r.Header.Get("Range"), ",") { // several ranges are read beside the handler, which ends first
		r.Header.Del("Range")
	}
	http.ServeContent(&patient{ResponseWriter: w, control: http.NewResponseController(w)}, r, "", time.Time{}, z)
	if z.err != nil && r.Context().Err() == nil {
		u.log.ErrorContext(r.Context(), "download broken off", logkey.Export, v.clips[0].ExportID, logkey.Error, z.err)
	}
	if z.err != nil {
		panic(http.ErrAbortHandler)
	}
	return nil
}

// chosenClips are the clips that were asked for, in their order.
func chosenClips(asked []string, clips []catalog.Line) ([]catalog.Line, error) {
	if len(asked) == 0 {
		return clips, nil
	}
	wanted := map[int]bool{}
	for _, text := range asked {
		idx, ok := index(text)
		if !ok {
			return nil, errNotFound
		}
		wanted[idx] = true
	}
	var chosen []catalog.Line
	for _, l := range clips {
		if wanted[l.Idx] {
			chosen = append(chosen, l)
		}
	}
	if len(chosen) != len(wanted) {
		return nil, errNotFound
	}
	return chosen, nil
}

// entriesOf are the files of clips, with a validator of all that is in them.
func (u *UI) entriesOf(clips []catalog.Line) ([]entry, string, error) {
	entries := make([]entry, 0, len(clips))
	sum := sha256.New()
	for _, l := range clips {
		crc, err := base64.StdEncoding.DecodeString(l.CRC32)
		switch {
		case !u.o.Files.IsFile(l.Key):
			return nil, "", errNotFound
		case err != nil || len(crc) != 4 || l.Size < 0:
			return nil, "", errNotFound.because("The archive does not know enough of these clips to put them into one file. Download them one by one.")
		}
		e := entry{name: path.Base(l.Key), key: l.Key, size: l.Size, crc: binary.BigEndian.Uint32(crc), modified: l.ArchivedAt}
		entries = append(entries, e)
		fmt.Fprintf(sum, "%s %d %s %s\n", e.name, e.size, l.SHA256, e.modified.UTC())
	}
	return entries, `"zip-` + hex.EncodeToString(sum.Sum(nil)[:12]) + `"`, nil
}

// zipName is what the file is called.
func zipName(l catalog.Line) string {
	name := shown(exportTitle(l), 80)
	if name == "" {
		name = "clips"
	}
	return plainName(name) + ".zip"
}

// plainName is a text without what a file name must not have.
func plainName(s string) string {
	b := []rune(s)
	for i, r := range b {
		switch r {
		case '/', '\\', ':', '*', '?', '"', '<', '>', '|':
			b[i] = '-'
		}
	}
	return string(b)
}

// patient is a writer whose client may take any time for the whole, as long as it
// takes something within writeTimeout. The server's own limit is one for all answers.
type patient struct {
	http.ResponseWriter
	control *http.ResponseController
}

// writeTimeout is how long one write of a download may take, S3 not counted.
const writeTimeout = time.Minute

func (p *patient) Write(b []byte) (int, error) {
	_ = p.control.SetWriteDeadline(time.Now().Add(writeTimeout)) // a writer without deadlines has none to extend
	return p.ResponseWriter.Write(b)
}
