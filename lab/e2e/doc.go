// Package e2e holds the end-to-end tests: the real binary in the lab's real namespaces, with real clients. Each acceptance line of the product
// is one test here. The tests share one lab per file group, and each leaves it settled for the next.
package e2e
