package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/clipferry/clipferry/tasks"
)

// readFile reads and checks all lines of a file, or of standard input for "-".
// Its error is an [inputError] that names every fault.
func readFile(ctx context.Context, c *console, name string) (*batch, error) {
	read, err := readLines(ctx, c, name)
	if err != nil {
		return nil, err
	}
	b := &batch{}
	type fault struct {
		line int
		text string
	}
	var faults []fault
	fail := func(line int, texts []string) {
		for _, t := range texts {
			faults = append(faults, fault{line, t})
		}
	}
	found, broken := objects(read)
	if broken != nil {
		return nil, broken
	}
	valid := func(yield func(tasks.Export) bool) {
		for _, object := range found {
			e, err := tasks.ParseExport(object.text)
			if err != nil {
				fail(object.line, faultLines(fmt.Sprintf("line %d: ", object.line), err))
				continue
			}
			b.objects = append(b.objects, object)
			b.note(e)
			if !yield(e) {
				return
			}
		}
	}
	var wrong tasks.BatchError
	if errors.As(tasks.CheckEach(valid), &wrong) {
		for _, item := range wrong {
			fail(b.objects[item.Index].line, b.faults(item))
		}
	}
	if len(faults) == 0 && len(b.objects) == 0 {
		return nil, &inputError{[]string{"there is no export in " + shownName(name)}}
	}
	if len(faults) > 0 {
		slices.SortStableFunc(faults, func(a, b fault) int { return cmp.Compare(a.line, b.line) })
		input := &inputError{}
		for _, f := range faults {
			input.lines = append(input.lines, f.text)
		}
		return nil, input
	}
	return b, nil
}

func shownName(name string) string {
	if name == "-" {
		return "standard input"
	}
	return name
}

// readLines returns the lines without their ends. Reading happens aside, since
// a terminal or a pipe that stays silent must not hold up an interruption.
func readLines(ctx context.Context, c *console, name string) ([][]byte, error) {
	source := c.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, &inputError{[]string{"--file: " + err.Error()}}
		}
		defer f.Close()
		source = f
	}
	type result struct {
		lines [][]byte
		err   error
	}
	done := make(chan result, 1)
	go func() {
		lines, err := splitLines(source)
		done <- result{lines, err}
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-done:
		if r.err != nil {
			return nil, &inputError{[]string{fmt.Sprintf("read %s: %v", shownName(name), r.err)}}
		}
		return r.lines, nil
	}
}

// object is one of a file's, and the line that it begins in, from 1.
type object struct {
	line int
	text []byte
}

// objects finds what should be one object each: the lines or, where the first of
// them is no object by itself, what a JSON array holds or what spans several
// lines. Of a file that breaks off being any of these, one fault says where.
func objects(lines [][]byte) ([]object, error) {
	var byLine []object
	for i, line := range lines {
		if len(bytes.TrimSpace(line)) > 0 {
			byLine = append(byLine, object{i + 1, line})
		}
	}
	if len(byLine) == 0 {
		return nil, nil
	}
	first := bytes.TrimSpace(byLine[0].text)
	array := first[0] == '['
	if !array && (first[0] != '{' || json.Valid(first)) {
		return byLine, nil
	}
	whole, err := values(bytes.Join(lines, []byte("\n")), array)
	byItself := func(o object) bool { t := bytes.TrimSpace(o.text); return t[0] == '{' && json.Valid(t) }
	if err != nil && !array && (len(byLine) == 1 || slices.ContainsFunc(byLine, byItself)) {
		return byLine, nil // one of its lines is wrong
	}
	return whole, err
}

// values returns the values of a text, or of the array that it is.
func values(text []byte, array bool) ([]object, error) {
	var all []object
	dec := json.NewDecoder(bytes.NewReader(text))
	wrong := func(err error) error {
		at := int(dec.InputOffset())
		if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
			at = int(syntax.Offset) - 1
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			at, err = len(bytes.TrimSpace(text)), errors.New("the file ends within an object")
			if array {
				err = errors.New("the file ends before the array does; is a ] missing?")
			}
		}
		return &inputError{[]string{fmt.Sprintf("line %d: not valid JSON: %v", 1+bytes.Count(text[:at], []byte("\n")), err)}}
	}
	if array {
		_, _ = dec.Token() // the bracket that was seen
	}
	for dec.More() {
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, wrong(err)
		}
		begins := int(dec.InputOffset()) - len(raw)
		all = append(all, object{1 + bytes.Count(text[:begins], []byte("\n")), raw})
	}
	if array {
		if _, err := dec.Token(); err != nil {
			return nil, wrong(err)
		}
	}
	switch _, err := dec.Token(); {
	case err == nil:
		return nil, wrong(errors.New("something follows the array"))
	case !errors.Is(err, io.EOF):
		return nil, wrong(err)
	}
	return all, nil
}

// byteOrderMark is what some editors put in front of UTF-8.
var byteOrderMark = []byte("\xef\xbb\xbf")

// maxArray bounds a file that is one array on one line.
const maxArray = 64 << 20

// splitLines keeps of a line that is too long only so much that ParseExport
// refuses it as such: a file without line breaks must not fill the memory.
func splitLines(r io.Reader) ([][]byte, error) {
	in := bufio.NewReader(r)
	longest := tasks.MaxPayload + 2
	if start, _ := in.Peek(4); bytes.HasPrefix(bytes.TrimPrefix(start, byteOrderMark), []byte("[")) {
		longest = maxArray
	}
	var lines [][]byte
	for more := true; more; {
		var line []byte
		var err error
		if line, more, err = readLine(in, longest); err != nil {
			return nil, err
		}
		if len(lines) == 0 {
			line = bytes.TrimPrefix(line, byteOrderMark)
		}
		lines = append(lines, bytes.TrimRight(line, "\r\n"))
	}
	return lines, nil
}

// readLine returns the next line, its end included, and whether more may follow.
func readLine(in *bufio.Reader, longest int) (line []byte, more bool, err error) {
	for {
		piece, err := in.ReadSlice('\n')
		if keep := longest - len(line); keep > 0 {
			line = append(line, piece[:min(keep, len(piece))]...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return line, false, nil
		default:
			return line, true, err
		}
	}
}
