package link

import (
	"net/http"
	"testing"
	"time"
)

func TestStrongValidators(t *testing.T) {
	for in, want := range map[string]string{
		`"v1"`: `"v1"`, `W/"v1"`: "", "": "", `""`: "", `v1`: "", `"a"b"`: "", "\"a\nb\"": "", ` "v1" `: `"v1"`,
	} {
		if got := strongETag(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
	at := time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC)
	date := func(d time.Duration) string { return at.Add(d).Format(http.TimeFormat) }
	if got := strongDate(date(-time.Hour), date(0)); got != date(-time.Hour) {
		t.Errorf("an old date: %q", got)
	}
	for _, c := range [][2]string{{date(-time.Second), date(0)}, {date(-time.Hour), ""}, {"nonsense", date(0)}, {date(time.Hour), date(0)}} {
		if got := strongDate(c[0], c[1]); got != "" {
			t.Errorf("%v: %q", c, got)
		}
	}
}

func TestDigests(t *testing.T) {
	const (
		md5b64 = "XrY7u+Ae7tCTyyK7j1rNww==" // of "hello world"
		crcb64 = "yZRlqg=="
		sha    = "uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek="
	)
	for name, c := range map[string]struct {
		header http.Header
		whole  bool
		want   []string
	}{
		"content-md5":         {http.Header{"Content-Md5": {md5b64}}, true, []string{"md5:content-md5"}},
		"content-md5 of part": {http.Header{"Content-Md5": {md5b64}}, false, nil},
		"google":              {http.Header{"X-Goog-Hash": {"crc32c=" + crcb64, "md5=" + md5b64}}, false, []string{"crc32c:x-goog-hash", "md5:x-goog-hash"}},
		"google in one line":  {http.Header{"X-Goog-Hash": {"crc32c=" + crcb64 + ",md5=" + md5b64}}, false, []string{"crc32c:x-goog-hash", "md5:x-goog-hash"}},
		"repr-digest":         {http.Header{"Repr-Digest": {"sha-256=:" + sha + ":, unixsum=:AA==:"}}, false, []string{"sha-256:repr-digest"}},
		"digest":              {http.Header{"Digest": {"SHA-256=" + sha}}, false, []string{"sha-256:digest"}},
		"amazon":              {http.Header{"X-Amz-Checksum-Crc32": {crcb64}}, false, []string{"crc32:x-amz-checksum-crc32"}},
		"amazon composite":    {http.Header{"X-Amz-Checksum-Crc32": {crcb64}, "X-Amz-Checksum-Type": {"COMPOSITE"}}, false, nil},
		"amazon -N":           {http.Header{"X-Amz-Checksum-Crc32": {crcb64 + "-3"}}, false, nil},
		"etag":                {http.Header{"Etag": {`"5eb63bbbe01eeed093cb22bb8f5acdc3"`}, "Server": {"AmazonS3"}}, false, []string{"md5:etag"}},
		"etag elsewhere":      {http.Header{"Etag": {`"5eb63bbbe01eeed093cb22bb8f5acdc3"`}, "Server": {"nginx"}}, false, nil},
		"etag with a key":     {http.Header{"Etag": {`"5eb63bbbe01eeed093cb22bb8f5acdc3"`}, "Server": {"AmazonS3"}, "X-Amz-Server-Side-Encryption": {"aws:kms"}}, false, nil},
		"etag of parts":       {http.Header{"Etag": {`"5eb63bbbe01eeed093cb22bb8f5acdc3-2"`}, "Server": {"AmazonS3"}}, false, nil},
		"wrong length":        {http.Header{"Content-Md5": {"AAAA"}}, true, nil},
		"not base64":          {http.Header{"Content-Md5": {"%%%%"}, "X-Goog-Hash": {"crc32c"}}, true, nil},
	} {
		var got []string
		for _, d := range parseDigests(c.header, c.whole) {
			got = append(got, d.Algorithm+":"+d.Header)
		}
		if len(got) != len(c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%s: %v, want %v", name, got, c.want)
			}
		}
	}
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-9/10", "bytes */10", "bytes 0-9/*", "bytes 5-2/10", "bytes 0-9223372036854775807/9223372036854775807", "items 0-1/2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		cr, err := parseContentRange(s)
		if err == nil && (cr.first < 0 || cr.last < cr.first || cr.total <= cr.last) {
			t.Errorf("%q: %+v", s, cr)
		}
	})
}

func FuzzHeaders(f *testing.F) {
	f.Add("crc32c=yZRlqg==,md5=XrY7u+Ae7tCTyyK7j1rNww==", `"tag"`)
	f.Add("sha-256=:uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=:", `W/"x"`)
	f.Fuzz(func(t *testing.T, digest, tag string) {
		h := http.Header{}
		for _, name := range []string{"Content-MD5", "Content-Digest", "Repr-Digest", "Digest", "X-Goog-Hash", "X-Amz-Checksum-Sha256"} {
			h.Set(name, digest)
		}
		h.Set("ETag", tag)
		h.Set("Server", "AmazonS3")
		for _, d := range parseDigests(h, true) {
			if len(d.Sum) != digestSizes[d.Algorithm] {
				t.Errorf("%s with %d bytes", d.Algorithm, len(d.Sum))
			}
		}
		if v := strongETag(tag); len(v) > 256 {
			t.Errorf("a tag of %d bytes", len(v))
		}
	})
}
