// Package rotation replaces a root or an issuing CA while devices go on working.
//
// A rotation is a record of the ledger that moves through the states of States. Each
// move is one Step: its gate is measured, officers have signed for it where that is
// asked, a line is written to the journal, the work is done through the interfaces of
// World, what came of it is read back from the outside, and a second line is written
// with the new state. Every piece of work may be done again: a process that dies
// anywhere is followed by one that reads the journal and goes on.
//
// It decides the order and what must hold; it issues nothing, talks to no cloud and
// knows no HTTP.
package rotation
