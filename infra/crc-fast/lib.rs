//! Stands in for the crate of this name, which the AWS SDK uses for S3's checksums. That one holds the tables of some
//! twenty CRCs, 0.7 MB that hardly compress, because its callers choose the CRC at run time. S3 has only these three.

use crc32fast::Hasher;

/// The names are those of the crate that this stands in for.
#[derive(Clone, Copy, Debug)]
pub enum CrcAlgorithm {
    /// CRC-32.
    Crc32IsoHdlc,
    /// CRC-32C.
    Crc32Iscsi,
    /// CRC-64/NVME.
    Crc64Nvme,
}

/// A checksum of the bytes so far.
#[derive(Clone, Debug)]
pub struct Digest(State);

#[derive(Clone, Debug)]
enum State {
    Crc32(Hasher),
    Table { table: &'static [u64; 256], register: u64, all: u64 },
}

/// The polynomials, bit-reversed.
const CRC32C: u64 = 0x82f6_3b78;
const CRC64_NVME: u64 = 0x9a6c_9329_ac4b_c9b5;
static CRC32C_TABLE: [u64; 256] = table(CRC32C);
static CRC64_NVME_TABLE: [u64; 256] = table(CRC64_NVME);

/// For each byte, the register after its eight bits.
const fn table(polynomial: u64) -> [u64; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut register, mut bit) = (byte as u64, 0);
        while bit < 8 {
            register = if register & 1 == 1 { register >> 1 ^ polynomial } else { register >> 1 };
            bit += 1;
        }
        table[byte] = register;
        byte += 1;
    }
    table
}

impl Digest {
    pub fn new(algorithm: CrcAlgorithm) -> Self {
        let by_table = |table, all| State::Table { table, register: all, all };
        Self(match algorithm {
            CrcAlgorithm::Crc32IsoHdlc => State::Crc32(Hasher::new()),
            CrcAlgorithm::Crc32Iscsi => by_table(&CRC32C_TABLE, u64::from(u32::MAX)),
            CrcAlgorithm::Crc64Nvme => by_table(&CRC64_NVME_TABLE, u64::MAX),
        })
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Crc32(hasher) => hasher.update(bytes),
            State::Table { table, register, .. } => {
                for byte in bytes {
                    let low = register.to_le_bytes()[0] ^ byte;
                    *register = table[usize::from(low)] ^ *register >> 8;
                }
            }
        }
    }

    pub fn finalize(&self) -> u64 {
        match &self.0 {
            State::Crc32(hasher) => u64::from(hasher.clone().finalize()),
            State::Table { register, all, .. } => register ^ all,
        }
    }
}

pub fn checksum(algorithm: CrcAlgorithm, bytes: &[u8]) -> u64 {
    let mut digest = Digest::new(algorithm);
    digest.update(bytes);
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check values of the catalogue of CRCs (`reveng`).
    #[test]
    fn the_check_values_are_those_of_the_catalogue() {
        let check = |algorithm| checksum(algorithm, b"123456789");
        assert_eq!(check(CrcAlgorithm::Crc32IsoHdlc), 0xcbf4_3926);
        assert_eq!(check(CrcAlgorithm::Crc32Iscsi), 0xe306_9283);
        assert_eq!(check(CrcAlgorithm::Crc64Nvme), 0xae8b_1486_0a79_9888);
    }

    #[test]
    fn pieces_make_the_sum_of_the_whole() {
        for algorithm in [CrcAlgorithm::Crc32IsoHdlc, CrcAlgorithm::Crc32Iscsi, CrcAlgorithm::Crc64Nvme] {
            let mut digest = Digest::new(algorithm);
            for piece in [&b"1234"[..], b"", b"56789"] {
                digest.update(piece);
            }
            assert_eq!(digest.finalize(), checksum(algorithm, b"123456789"));
        }
    }
}
