// Package workflow counts working days and moves things from state to state (工作日与状态流转).
//
// A Calendar is a data file of the State Council's yearly notices (国务院办公厅关于部分节假日安排的通知), holidays and
// make-up workdays included. A year without its notice is Unavailable: a due date is never guessed, because a wrong one
// would look as binding as a right one. Days are those of Asia/Shanghai (UTC+8, no summer time since 1991).
//
// Counting follows 中华人民共和国民法典: the day of receipt is not counted (第二百零一条), a period ends at 24:00 of its
// last day (第二百零三条), a period of months ends on the day of the same number or on the month's last day (第二百零二条).
//
// A Machine lists states, events and who may cause them; what is not listed is refused. It holds no state of its own:
// Next is a function of the state it is given. Errors are Conflict (the state does not take the event) and Denied (the
// role may not cause it). The package reads no clock and runs no timers: the caller passes the time and looks.
package workflow
