// Package examples is the complete configurations in this folder, each of which its test loads.
package examples
