package passthrough

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// call is what a request asks of the API.
type call struct {
	// name is the path below the API's root that makes tasks, or that is asked for,
	// without what names a task.
	name string
	// known says that it is one of the API's pages'.
	known bool
	// order says that it may make a task, and so costs money and a slot.
	order bool
	// root is the API's, as in the request; task the id whose results are asked for.
	root, task string
}

// orders are the calls that make tasks; free are those that change something and
// cost nothing. What is in neither may cost, and counts as an order.
var (
	orders = []string{"clips", "clips/find-moments", "summaries", "transcripts"}
	free   = []string{"upload/single-file"}
)

const (
	results = "/results/"
	maxPath = 2 << 10
)

// callOf reads a request's method and path.
func callOf(method, path string) (call, error) {
	var c call
	for _, root := range []string{"/api/v2", "/open/v2"} {
		if rest, ok := strings.CutPrefix(path, root+"/"); ok {
			c.root, c.name = root, rest
		}
	}
	nothing := &Refusal{Status: http.StatusNotFound, Reason: "not_found", Message: "there is nothing at this path"}
	if c.name == "" || len(path) > maxPath || odd(path) {
		return c, nothing
	}
	switch method {
	case http.MethodGet, http.MethodHead:
		if of, task, ok := cutLast(c.name, results); ok && !strings.Contains(task, "/") {
			c.name = of
			c.task, _ = url.PathUnescape(task) // odd has seen that it can be
		}
		c.known = slices.Contains(orders, c.name) && c.task != ""
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		c.order = !slices.Contains(free, c.name)
		c.known = !c.order || slices.Contains(orders, c.name)
	default:
		return c, &Refusal{Status: http.StatusMethodNotAllowed, Reason: "method_not_allowed", Message: "this method is not passed on"}
	}
	if respelled(c.name) {
		return c, nothing
	}
	return c, nil
}

// resultsPath is where the results of the call's task are.
func (c call) resultsPath(task string) string {
	return c.root + "/" + c.name + results + url.PathEscape(task)
}

// odd says whether a path could lead elsewhere than it seems to.
func odd(path string) bool {
	plain, err := url.PathUnescape(path)
	return err != nil || strings.Contains(plain, ";") || strings.Count(plain, "/") != strings.Count(path, "/") || slices.ContainsFunc(strings.Split(plain, "/"), func(s string) bool { return s == "." || s == ".." }) ||
		strings.ContainsFunc(plain, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' })
}

// respelled says whether a path escapes what needs no escape. To the provider that is
// the path without it, and so another call than the one that was read here.
func respelled(path string) bool {
	for {
		_, after, found := strings.Cut(path, "%")
		if !found {
			return false
		}
		path = after
		c, err := strconv.ParseUint(after[:2], 16, 8) // odd has seen that it can be read
		if err != nil || unreserved(byte(c)) {
			return true
		}
	}
}

// unreserved says whether RFC 3986 has the character mean the same with and without an
// escape.
func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+len(sep):], true
}
