package batch

import "github.com/apache/arrow/go/v17/arrow"

// CodedText (字典编码文本) is how a text column comes from a Selector as codes: each row has the number of a text of its record's
// dictionary, which has no nulls. A batch has at most MaxRows rows, so two bytes number its texts; entries may be unused or stand
// twice.
var CodedText = &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Uint16, ValueType: arrow.BinaryTypes.String}

// CodedSubject (字典编码假名) is how pseudonyms come from a Selector as codes, in the same way: each run of rows of one subject has the
// number of an entry, and rows that have the same number have the same subject.
var CodedSubject = &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Uint16, ValueType: &arrow.FixedSizeBinaryType{ByteWidth: 16}}

// Selector (可选读取) is a Reader that can give less than all, for one that can take it. Select is called before the first Next.
type Selector interface {
	Reader
	Select(Selection) error
}

// Selection (读取选择) says what a reader may leave out.
type Selection struct {
	// Coded allows CodedText for text columns and CodedSubject for pseudonyms: each record's own schema says which are so in it, the
	// reader's says none is.
	Coded bool
	// Useless says that no row of a batch counts that has such values in a column. Its rows are not read then. What it is told, and
	// what is left out, depends on the data: neither reaches an asker, a log or a metric.
	Useless func(column string, e Extent) bool
}

// ExtentBytes is how much of a text an Extent has.
const ExtentBytes = 16

// Extent (取值范围) bounds the values of one column in one batch. A batch whose values are all null has no bounds.
type Extent struct {
	Rows, Nulls int
	Least, Most *int64   // of numbers and dates; of truth values 0 and 1
	Low, High   []byte   // of texts: the first ExtentBytes of the least and of the greatest
	Texts       [][]byte // all of them, where they are few; nil where that is not known
}

// String keeps values out of logs.
func (Extent) String() string { return "extent(redacted)" }

// GoString keeps values out of %#v.
func (Extent) GoString() string { return "extent(redacted)" }
