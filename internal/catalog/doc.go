// Package catalog is the list of all archived clips, for people who look for one:
// [Line] is a clip, [Index] all of them in memory, searched by what is in their
// texts. It knows nothing of Redis: its truth is the manifests in S3.
//
// # In S3
//
//	<prefix>/_catalog/<level>/<hash>.jsonl.gz
//
// A [Store] keeps the lines in immutable files. One of level 0 is written beside each
// manifest; ten or more of a level are merged into one of the next, so that a line is
// written once a level and files stay few. Inputs are removed after the merged file is
// written: whatever is cut off, no line is lost, and some may be there twice. Readers
// count a clip once, by its highest revision.
//
// # In memory
//
// An Index holds each clip once, packed: its normalised text, what has to be changed
// in it to have the original, and what else a line holds. A search scans the texts
// on all cores; there is no index of words, so that any substring of any script is
// found, and nothing has to be kept up.
package catalog
