// Package catalog is the list of all archived clips, for people who look for one:
// [Line] is a clip, [Index] all of them in memory, searched by what is in their
// texts. It knows nothing of Redis: its truth is the manifests in S3.
//
// # In memory
//
// An Index holds each clip once, packed: its normalised text, what has to be changed
// in it to have the original, and what else a line holds. A search scans the texts
// on all cores; there is no index of words, so that any substring of any script is
// found, and nothing has to be kept up.
package catalog
