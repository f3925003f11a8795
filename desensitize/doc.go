// Package desensitize turns tables into views (脱敏视图) by signed plans: which columns a view has and what happens to each of
// them. A plan is YAML, read strictly; its owner signs its canonical bytes with SM2; it is compiled against a dataset's
// description, and everything that is wrong with it is said before the first row is read, as a Decision with the column, the
// rule and the smallest change that would pass.
//
// 依据: 龙华区实施方案 十二10, 福田区管理办法 第十六条 (masking, tokenising, generalising); 光明区管理办法 第二十条: a use rests on
// desensitised data (route A) or on the subject's authorisation (route B), and a run names which. See Route.
//
// # What a plan must do
//
// Every personal column and every column of grade 3 or above is named, with an operation or with "drop", unless the plan says
// "rest: drop"; "pass" leaves a column as it is and is refused for those. A column of direct identifiers takes only what hides them. Columns that are not named are dropped, or passed if the plan says "rest: pass" and
// they may be; outside a catalogue only those that the plan's schema declares may. The operations are those of package mask and, by their own names, of the other packages below this one; the
// list is at Step.
//
// # Applying
//
// A Pipeline keeps rows and their order, unless the plan says "sample". It works batch by batch, in parallel over a bounded number
// of batches; micro-aggregation and shuffling are over the whole column, which is read once before. What an operation gives is
// held to the type, length and nulls that were promised before it goes on. The Report counts, by column, values that were masked
// and values that were hidden whole because they did not fit, and the rows a sample was drawn from; it holds no value.
//
// What is drawn (noise, PRAM, shuffling, samples) follows from a key, the plan's digest and the table by HKDF-SM3 and the SM4 key
// stream: a run can be repeated, by nobody who has not the key.
//
// Masking (动态脱敏) applies another pipeline for each role to the same table; a role without rules sees everything hidden. In a domain
// the one place where a role reads a record is the answer about a consenting person; rows are shown to nobody.
//
// Errors are Invalid with the line for a plan that cannot be read, Tampered for a wrong signature. Not here: whether a view may be
// made at all, which is the policy's; storing it, which is sandbox/run's.
package desensitize
