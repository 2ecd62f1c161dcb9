//! The Internet checksum (RFC 1071), whole, partial and incremental (RFC 1624).
