package emulator

import "strings"

// refuses reports whether a FaultCode says that nothing was done.
func (f Fault) refuses() bool { return f.Code != "" && f.Code != "0" }

// envelope wraps an answer the way some of the provider's pages show it.
func envelope(f Fault, body []byte) []byte {
	code, message := f.Code, f.Message
	if code == "" {
		code = "0"
	}
	if !f.refuses() && message == "" {
		message = "Succeed"
	}
	data := `"data":null`
	if !f.refuses() && len(body) > 2 && body[0] == '{' {
		data = string(body[1 : len(body)-1])
	}
	return []byte(`{"code":` + string(encode(code)) + "," + data + `,"message":` + string(encode(message)) + "}")
}

// quoteNumbers writes each number of a JSON document as a string.
func quoteNumbers(doc []byte) []byte {
	var out strings.Builder
	inText, inNumber := false, false
	for i := 0; i < len(doc); i++ {
		b := doc[i]
		// Outside of strings, nothing but a number holds these and begins with a
		// digit or a minus.
		begins := !inText && !inNumber && (b == '-' || b >= '0' && b <= '9')
		if begins || inNumber && !strings.ContainsRune("0123456789+-.eE", rune(b)) {
			out.WriteByte('"')
			inNumber = begins
		}
		out.WriteByte(b)
		switch {
		case b == '"':
			inText = !inText
		case b == '\\' && inText && i+1 < len(doc):
			i++
			out.WriteByte(doc[i])
		}
	}
	if inNumber {
		out.WriteByte('"')
	}
	return []byte(out.String())
}
