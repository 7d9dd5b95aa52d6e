// Package customhouse holds the words that every other package speaks: names of repositories and tags, digests,
// descriptors, accesses, identities, credentials and errors.
//
// Each word is parsed once, at the edge, by its Parse function; a value of the type is proof that the text obeyed the
// grammar. The package imports the standard library only and knows nothing of HTTP, SQL or files.
package customhouse
