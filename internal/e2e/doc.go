// Package e2e tests the built binaries as an operator runs them: processes, a
// real Redis, a real S3 server, the emulated provider, and nothing of ours in
// between. It holds no code of the program.
package e2e
