package sql

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

type tokenKind uint8

const (
	word   tokenKind = iota // bare word: keyword, name, number
	name                    // quoted name
	value                   // quoted value
	symbol                  // anything else, one character
)

// token is one word of the text with its bytes.
type token struct {
	kind    tokenKind
	at, end int
}

// scan reads the text once before the parser does. It keeps the parser's work bounded and refuses what the parser would
// swallow: comments, which may carry hints or code of other dialects, second statements, and forms of a value that read
// differently elsewhere.
func (c *compiler) scan() {
	t := c.text
	if len(t) > MaxText {
		c.refuse(0, "sql.size", "text", fmt.Sprintf("a text has at most %d bytes", MaxText), "ask a smaller question")
	}
	if !utf8.ValidString(t) {
		c.refuse(strings.IndexFunc(t, func(r rune) bool { return r == utf8.RuneError }), "sql.text", "character", "a text is UTF-8", "save it as UTF-8")
	}
	depth := 0
	for i := 0; i < len(t); {
		r, n := utf8.DecodeRuneInString(t[i:])
		switch {
		case r == ' ' || r == '\t' || r == '\n' || r == '\r':
			i += n
			continue
		case !unicode.IsPrint(r):
			c.refuse(i, "sql.text", "control or invisible character", "a text is printable, with spaces, tabs and line ends", "remove it")
		case r == '\'' || r == '"' || r == '`':
			end := c.quoted(i)
			k := name
			if r == '\'' {
				k = value
				c.bareValue(i)
			}
			c.add(k, i, end)
			i = end
			continue
		case r == '_' || r == '$' || r >= 0x80 || r >= '0' && r <= '9' || r|0x20 >= 'a' && r|0x20 <= 'z':
			end := i
			for end < len(t) {
				r, n := utf8.DecodeRuneInString(t[end:])
				if r != '_' && r != '$' && r < 0x80 && (r < '0' || r > '9') && (r|0x20 < 'a' || r|0x20 > 'z') || r >= 0x80 && !unicode.IsPrint(r) {
					break
				}
				end += n
			}
			if end-i > maxWord {
				c.refuse(i, "sql.size", "word", fmt.Sprintf("a name has at most %d bytes", maxWord), "use a shorter one")
			}
			c.add(word, i, end)
			i = end
			continue
		case r == '#' || strings.HasPrefix(t[i:], "--") || strings.HasPrefix(t[i:], "/*"):
			if strings.HasPrefix(t[i:], "/*+") {
				c.refuse(i, "sql.hint", "optimizer hint", "how a question is computed is the engine's to choose", "leave it out")
			}
			if strings.HasPrefix(t[i:], "/*!") || strings.HasPrefix(t[i:], "/*T!") || strings.HasPrefix(t[i:], "/*M!") {
				c.refuse(i, "sql.comment", "executable comment", "a text reads the same to everyone: no comment is code", "write it as SQL, or leave it out")
			}
			c.refuse(i, "sql.comment", "comment", "a question is its statement alone: no reader is to see another one in it", "leave it out")
		case r == ';':
			if rest := strings.TrimSpace(t[i+1:]); rest != "" {
				c.refuse(i+1+strings.Index(t[i+1:], rest[:1]), "sql.statements", "second statement", "a question is one SELECT statement", "ask each statement by itself")
			}
		case r == '@' || r == ':' && strings.HasPrefix(t[i:], ":="):
			c.refuse(i, "sql.variable", "variable or assignment", "a question keeps nothing between statements; a version is written inside the quoted name", `write the value, or FROM "dataset@3"`)
		case r == '?':
			c.refuse(i, "sql.parameter", "parameter", "a question is complete", "write the value")
		case r == '{' || r == '}' || r == '\\':
			c.refuse(i, "sql.syntax", "character", "braces and backslashes have no meaning outside quotes", "leave it out")
		case r == '(':
			if depth++; depth > MaxDepth {
				c.refuse(i, "sql.depth", "parenthesis", fmt.Sprintf("a question nests at most %d deep", MaxDepth), "take parentheses away")
			}
		case r == ')':
			depth--
		}
		c.add(symbol, i, i+n)
		i += n
	}
	if len(c.tokens) == 0 {
		c.refuse(0, "sql.syntax", "empty text", "a question is one SELECT statement", "SELECT COUNT(*) FROM …")
	}
}

func (c *compiler) add(k tokenKind, at, end int) {
	if len(c.tokens) == MaxTokens {
		c.refuse(at, "sql.size", "text", fmt.Sprintf("a text has at most %d words and signs", MaxTokens), "ask a smaller question")
	}
	c.tokens = append(c.tokens, token{k, at, end})
}

// quoted gives the end of a quoted text: its quote doubled stands for itself.
func (c *compiler) quoted(at int) int {
	q := c.text[at]
	for i := at + 1; i < len(c.text); i++ {
		if r := c.text[i]; r < ' ' || r == 0x7f {
			c.refuse(i, "sql.text", "control character", "a quoted text stands on one line and is printable", "close the quote")
		}
		if c.text[i] != q {
			continue
		}
		if i+1 < len(c.text) && c.text[i+1] == q {
			i++
			continue
		}
		if i+1-at > maxWord {
			break
		}
		return i + 1
	}
	if len(c.text)-at > maxWord {
		c.refuse(at, "sql.size", "quoted text", fmt.Sprintf("a value or name has at most %d bytes", maxWord), "close the quote, or write a shorter one")
	}
	c.refuse(at, "sql.syntax", "quote", "a quote is closed", "close the quote")
	return 0
}

// bareValue refuses a value that a word or another value before it would change: X'41', _latin1 'a', 'a' 'b'.
func (c *compiler) bareValue(at int) {
	if len(c.tokens) == 0 {
		return
	}
	last := c.tokens[len(c.tokens)-1]
	before := c.text[last.at:last.end]
	if last.kind == value || last.kind == word && (last.end == at || before[0] == '_') {
		c.refuse(last.at, "sql.literal", "value in parts or in another encoding", "a value is one text in single quotes, as the catalogue writes it", "write 'value'")
	}
}

// find gives the place of the first word of those given from an offset on, or the offset.
func (c *compiler) find(from int, words ...string) int {
	for _, t := range c.tokens {
		if t.at < from || t.kind != word && t.kind != symbol {
			continue
		}
		for _, w := range words {
			if strings.EqualFold(c.text[t.at:t.end], w) {
				return t.at
			}
		}
	}
	return from
}

// named gives the place of the first name, quoted or not, that reads so from an offset on; false for none.
func (c *compiler) named(from int, n string) (int, bool) {
	for _, t := range c.tokens {
		s := c.text[t.at:t.end]
		if t.kind == name {
			s = strings.ReplaceAll(s[1:len(s)-1], s[:1]+s[:1], s[:1])
		}
		if t.at >= from && t.kind != value && strings.EqualFold(s, n) {
			return t.at, true
		}
	}
	return from, false
}
