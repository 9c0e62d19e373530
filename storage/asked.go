package storage

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// optionsFault is the failure of a write that asks for options. A server that lacks
// one of them says so in words of its own, if it says it at all.
type optionsFault struct {
	error
	variables string // that ask for them
}

func (o optionsFault) Unwrap() error { return o.error }

// refusedFor marks err, if the server may have meant one of the options.
func refusedFor(err error, asked ObjectOptions) error {
	variables := asked.variables()
	if err == nil || variables == "" {
		return err
	}
	switch s := httpStatus(err); {
	case s < http.StatusBadRequest, s > http.StatusNotImplemented, slices.Contains(otherwiseMeant, s):
		return err
	}
	return optionsFault{err, variables}
}

// otherwiseMeant are statuses by which S3 says something else.
var otherwiseMeant = []int{
	http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusRequestTimeout,
	http.StatusConflict, http.StatusPreconditionFailed, http.StatusTooManyRequests,
}

// hint says what to do about it; known is the hint for S3's code.
func (o optionsFault) hint(code, known string) string {
	text := fmt.Sprintf("this server lacks what %s asks for", o.variables)
	switch code {
	case "NotImplemented", "":
		return text
	case "InternalError":
		return "if that goes on, " + text
	case "InvalidRequest":
		return text + ", or refuses checksums: CLIPFERRY_S3_CHECKSUM=md5"
	}
	if known != "" {
		return known
	}
	return text
}

// variables names those that are set and ask a server for what it may lack.
func (o ObjectOptions) variables() string {
	var set []string
	for _, v := range []struct {
		name string
		set  bool
	}{
		{"STORAGE_CLASS", o.StorageClass != ""},
		{"SSE", o.SSE != ""},
		{"LOCK_MODE", o.LockMode != ""},
		{"TAGS", len(o.Tags) > 0},
		{"ACL", o.ACL != ""},
	} {
		if v.set {
			set = append(set, "CLIPFERRY_S3_"+v.name)
		}
	}
	return strings.Join(set, ", ")
}
