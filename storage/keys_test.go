package storage

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func keyArchive() *Archive { return &Archive{opts: Options{Prefix: "exports"}} }

func TestFolder(t *testing.T) {
	a := keyArchive()
	if got, want := a.Folder("proj_abc123", "export_task_xyz789"), "exports/proj_abc123/export_task_xyz789/"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := a.receiptKey("a:b.c-1"), "exports/_receipts/a:b.c-1.json"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := a.Folder("_receipts", "x"); strings.HasPrefix(got, "exports/_receipts/") {
		t.Errorf("a project takes the receipts' folder: %s", got)
	}
}

func TestClipName(t *testing.T) {
	for title, want := range map[string]string{
		"Sample Title":                 "clip-003-sample-title",
		"":                             "clip-003",
		"../../etc/passwd":             "clip-003-etc-passwd",
		"///":                          "clip-003",
		"🎉🎉":                           "clip-003",
		"Ünïcödé Straße":               "clip-003-ünïcödé-straße",
		"第一集：开始":                       "clip-003-第一集-开始",
		"\u202egnp.exe\u202c":          "clip-003-gnp-exe",
		"مرحبا بالعالم":                "clip-003-مرحبا-بالعالم",
		"a\x00b\nc":                    "clip-003-a-b-c",
		"ｆｕｌｌ／width":                   "clip-003-full-width",
		"\xff\xfe bad":                 "clip-003-bad",
		"-- dashes --":                 "clip-003-dashes",
		"\u0301\u0301combining first":  "clip-003-combining-first",
		strings.Repeat("x", 10_000):    "clip-003-" + strings.Repeat("x", maxSlugLen),
		strings.Repeat("é", 10_000):    "clip-003-" + strings.Repeat("é", maxSlugLen/2),
		"C:\\windows\\system32|<>?*\"": "clip-003-c-windows-system32",
	} {
		if got := ClipName(3, title); got != want {
			t.Errorf("%.40q: got %q, want %q", title, got, want)
		}
	}
}

// Whatever the ids and the title, the key is one that S3 and a file system take,
// and two exports never meet.
func TestKeysAreSafe(t *testing.T) {
	a := keyArchive()
	hostile := rapid.OneOf(rapid.String(), rapid.StringMatching(`[./\\_:~-]{0,6}[a-z]{0,3}`), rapid.StringN(0, 400, 4000),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
	rapid.Check(t, func(t *rapid.T) {
		project, task := hostile.Draw(t, "project"), hostile.Draw(t, "task")
		key := a.Folder(project, task) + ClipName(rapid.IntRange(0, 9999).Draw(t, "idx"), hostile.Draw(t, "title")) + ".mp4"
		checkKey(t, key, 4)
		if !a.IsFile(key) || a.IsFile(a.receiptKey(task)) || a.IsFile(a.ManifestKey(project, task)) {
			t.Fatalf("key %q is not taken for a file, or another one is", key)
		}
		checkKey(t, a.receiptKey(task), 3)
		project2, task2 := hostile.Draw(t, "project2"), hostile.Draw(t, "task2")
		if (project != project2 || task != task2) && a.Folder(project, task) == a.Folder(project2, task2) {
			t.Fatalf("%q, %q and %q, %q share a folder", project, task, project2, task2)
		}
	})
}

func checkKey(t *rapid.T, key string, components int) {
	parts := strings.Split(key, "/")
	if len(parts) != components || len(key) > 1024 || !utf8.ValidString(key) {
		t.Fatalf("key %q", key)
	}
	for _, p := range parts {
		if p == "" || p[0] == '.' || len(p) > 255 || strings.ContainsAny(p, "\\\x00\r\n ") {
			t.Fatalf("component %q of key %q", p, key)
		}
	}
}

// Only what has the shape of a file of ours is one, whatever else the bucket holds.
func TestIsFile(t *testing.T) {
	a := keyArchive()
	for key, want := range map[string]bool{
		"exports/p/t/clip-000.mp4": true, "exports/p/t/clip-012-a-title.mov": true, "exports/p~0123/t:1/clip-1000-köln-2.jpg": true,
		"exports/p/t/clip-.mp4": false, "exports/p/t/clip-000": false, "exports/p/t/clip-000.mp4/x.sql": false,
		"exports/p/t/manifest.json": false, "exports/_receipts/clip-000.mp4": false, "exports/_receipts/x/clip-000.mp4": false,
		"exports/p/clip-000.mp4": false, "exports/p/t/u/clip-000.mp4": false, "exports/../t/clip-000.mp4": false,
		"backups/p/t/clip-000.mp4": false, "p/t/clip-000.mp4": false, "exports/p/t/clip-000-a b.mp4": false, "": false,
	} {
		if a.IsFile(key) != want {
			t.Errorf("%s: not %v", key, want)
		}
	}
	bare := &Archive{}
	if !bare.IsFile("p/t/clip-000.mp4") || bare.IsFile("exports/p/t/clip-000.mp4") {
		t.Error("without a prefix")
	}
}

func TestContentDisposition(t *testing.T) {
	for name, want := range map[string]string{
		"":                   "",
		"clip.mp4":           `attachment; filename="clip.mp4"`,
		"Café.mp4":           `attachment; filename="Caf_.mp4"; filename*=UTF-8''Caf%C3%A9.mp4`,
		"a\"; evil=\"b.mp4":  `attachment; filename="a_; evil=_b.mp4"; filename*=UTF-8''a%22%3B%20evil%3D%22b.mp4`,
		"a\r\nSet-Cookie: x": `attachment; filename="aSet-Cookie- x"`,
		"../../x.mp4":        `attachment; filename="-..-x.mp4"`,
		"\u202egpj.exe":      `attachment; filename="gpj.exe"`,
		"\xff\xfe":           "",
		"...mp4":             "", // the title ..
		". .mp4":             "",
	} {
		if got := contentDisposition(name); got != want {
			t.Errorf("%q:\n got %s\nwant %s", name, got, want)
		}
	}
	long := contentDisposition(strings.Repeat("漢", 5000) + ".mp4")
	if len(long) > 1024 || !strings.HasSuffix(long, ".mp4") {
		t.Errorf("%d bytes: %s", len(long), long)
	}
}

func TestMetadata(t *testing.T) {
	m := metadata(map[string]string{metaExport: "e1"}, map[string]string{
		"Title": "Café\r\nX-Evil: 1", "bad name": "x", metaExport: "forged", "long": strings.Repeat("x", 3000), "plain": "a  b",
	})
	if m[metaExport] != "e1" || m["plain"] != "a b" || m["bad name"] != "" || m["long"] != "" {
		t.Errorf("got %q", m)
	}
	if strings.ContainsAny(m["title"], "\r\n") || !strings.HasPrefix(m["title"], "=?utf-8?b?") {
		t.Errorf("title: %q", m["title"])
	}
}

func TestLayout(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Int64Range(1, 5<<40).Draw(t, "limit")
		a := &Archive{opts: Options{PartSize: rapid.Int64Range(minPartSize, 64<<20).Draw(t, "part"), Source: limited(limit)}}
		size := rapid.Int64Range(1, limit).Draw(t, "size")
		l := layout{size: size, part: a.partSize(size)}
		if l.part > a.partSize(-1) {
			t.Fatalf("parts of %d do not fit buffers of %d", l.part, a.partSize(-1))
		}
		n := l.count()
		if n < 1 || n > maxParts || l.part < a.opts.PartSize {
			t.Fatalf("%d parts of %d for %d", n, l.part, size)
		}
		var end int64
		for _, i := range []int{0, n / 2, n - 1} {
			off, length := l.span(i)
			if off != int64(i)*l.part || length < 1 || length > l.part || (i < n-1 && length != l.part) {
				t.Fatalf("part %d: %d+%d", i, off, length)
			}
			end = off + length
		}
		if end != size {
			t.Fatalf("the parts end at %d of %d", end, size)
		}
	})
	a := &Archive{opts: Options{PartSize: DefaultPartSize, Source: limited(64 << 30)}}
	if got := a.partSize(50e9); got != DefaultPartSize {
		t.Errorf("50 GB: parts of %d", got)
	}
}
