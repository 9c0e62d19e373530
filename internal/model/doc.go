// Package model checks the promises on the export's way by enumeration: two
// workers, the queue, the provider and S3 are small fakes, every effect of a
// handler is one step, and every interleaving of these steps with crashes, lost
// answers, double deliveries, a lost Redis and people who cancel and retry is
// visited, up to a number of faults. The decisions are the real ones of package
// export; the order of the effects is that of package worker, step by step, and
// has to follow it when it changes.
//
// It holds tests only.
package model
