// What a bench says of the machine, over a sysfs of our own making.
#include "bench/machine_report.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/sysmacros.h>

#include <filesystem>
#include <fstream>

#include "support/temp_dir.h"

namespace spillway::tool {
namespace {

namespace fs = std::filesystem;

class SysTree {
 public:
  fs::path root() const { return folder_.path(); }

  void write(const std::string& file, const std::string& text) const {
    fs::create_directories((root() / file).parent_path());
    std::ofstream(root() / file) << text;
  }
  void link(const std::string& from, const std::string& to) const {
    fs::create_directories((root() / from).parent_path());
    fs::create_symlink(to, root() / from);
  }
  // A disk with the files that a kernel has for it.
  void disk(const std::string& name, const std::string& number) const {
    const std::string at = "devices/" + name + "/";
    write(at + "stat", "1 0 1000 0 2 0 3000 0 0 0 0\n");
    write(at + "size", "2048\n");
    write(at + "queue/scheduler", "none [mq-deadline] kyber\n");
    write(at + "queue/max_sectors_kb", "1280\n");
    write(at + "queue/max_segments", "254\n");
    write(at + "queue/nr_requests", "256\n");
    write(at + "queue/rotational", "0\n");
    write(at + "queue/iostats", "1\n");
    write(at + "dev", number + "\n");
    fs::create_directories(root() / at / "slaves");
    link("dev/block/" + number, "../../devices/" + name);
  }

 private:
  TempDir folder_;
};

TEST(BlockDeviceTest, AnNvmeDisk) {
  const SysTree sys;
  sys.disk("nvme0n1", "259:0");
  sys.write("devices/nvme0n1/device/model", "Samsung SSD 990 PRO 2TB   \n");
  sys.write("devices/nvme0n1/device/device/numa_node", "1\n");
  const auto device = block_device(::makedev(259, 0), sys.root());
  ASSERT_TRUE(device);
  EXPECT_EQ(device->name, "nvme0n1");
  EXPECT_EQ(device->model, "Samsung SSD 990 PRO 2TB");
  EXPECT_EQ(device->scheduler, "mq-deadline");
  EXPECT_EQ(device->bytes, 1 << 20);
  EXPECT_EQ(device->max_sectors_kb, 1280);
  EXPECT_EQ(device->max_segments, 254);
  EXPECT_EQ(device->numa_node, 1);
  EXPECT_FALSE(device->is_virtual);
  EXPECT_FALSE(device->in_memory);
  const auto counters = device->counters();
  ASSERT_TRUE(counters);
  EXPECT_EQ(counters->read_bytes, 1000 * 512);
  EXPECT_EQ(counters->written_bytes, 3000 * 512);
}

TEST(BlockDeviceTest, APartitionStandsForItsDisk) {
  const SysTree sys;
  sys.disk("sda", "8:0");
  sys.write("devices/sda/sda1/partition", "1\n");
  sys.link("dev/block/8:1", "../../devices/sda/sda1");
  const auto device = block_device(::makedev(8, 1), sys.root());
  ASSERT_TRUE(device);
  EXPECT_EQ(device->name, "sda");
  EXPECT_EQ(device->max_sectors_kb, 1280);
}

TEST(BlockDeviceTest, VirtualDisks) {
  const SysTree sys;
  sys.disk("vda", "254:0");
  sys.link("devices/vda/device/driver", "../../bus/virtio/drivers/virtio_blk");
  sys.disk("nvme1n1", "259:1");
  sys.write("devices/nvme1n1/device/model", "Amazon Elastic Block Store\n");
  sys.disk("sdb", "8:16");
  sys.write("devices/sdb/device/vendor", "QEMU    \n");
  sys.write("devices/sdb/device/model", "HARDDISK\n");
  for (const dev_t number : {::makedev(254, 0), ::makedev(259, 1), ::makedev(8, 16)}) {
    const auto device = block_device(number, sys.root());
    ASSERT_TRUE(device);
    EXPECT_TRUE(device->is_virtual) << device->name;
  }
}

TEST(BlockDeviceTest, WhatIsStackedOnAVirtualDiskIsVirtual) {
  const SysTree sys;
  sys.disk("vda", "254:0");
  sys.link("devices/vda/device/driver", "../../bus/virtio/drivers/virtio_blk");
  sys.disk("dm-0", "253:0");
  sys.link("devices/dm-0/slaves/vda", "../../vda");
  const auto device = block_device(::makedev(253, 0), sys.root());
  ASSERT_TRUE(device);
  EXPECT_TRUE(device->is_virtual);
}

TEST(BlockDeviceTest, MemoryThatLooksLikeADisk) {
  const SysTree sys;
  sys.disk("zram0", "253:0");
  const auto device = block_device(::makedev(253, 0), sys.root());
  ASSERT_TRUE(device);
  EXPECT_TRUE(device->in_memory);
}

TEST(BlockDeviceTest, NoneAndOneThatDoesNotCount) {
  const SysTree sys;
  EXPECT_FALSE(block_device(::makedev(0, 42), sys.root()));
  sys.disk("sda", "8:0");
  sys.write("devices/sda/queue/iostats", "0\n");
  const auto device = block_device(::makedev(8, 0), sys.root());
  ASSERT_TRUE(device);
  EXPECT_FALSE(device->counters());
}

constexpr const char* mounts =
    "22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro\n"
    "30 22 0:30 / /mnt rw - tmpfs tmpfs rw,size=1g\n"
    "31 30 259:1 / /mnt/with\\040space rw,noatime - xfs /dev/nvme0n1p1 rw,attr2\n"
    "32 22 0:40 / /mnt rw - btrfs /dev/sda rw\n"
    "a line that is none\n";

TEST(MountTest, TheLongestPrefixAndTheLastOnTop) {
  const auto root = mount_of(mounts, "/mntx/y");
  ASSERT_TRUE(root);
  EXPECT_EQ(root->point, "/");
  EXPECT_EQ(root->options, "rw,relatime,rw,errors=remount-ro");
  EXPECT_EQ(root->device, ::makedev(254, 1));
  EXPECT_EQ(mount_of(mounts, "/mnt/a")->type, "btrfs");
  EXPECT_EQ(mount_of(mounts, "/mnt")->type, "btrfs");
  const auto deep = mount_of(mounts, "/mnt/with space/b");
  ASSERT_TRUE(deep);
  EXPECT_EQ(deep->type, "xfs");
  EXPECT_EQ(deep->source, "/dev/nvme0n1p1");
  EXPECT_FALSE(mount_of("", "/"));
}

MachineReport quiet() {
  MachineReport machine;
  machine.processors = 4;
  machine.governor = "performance";
  return machine;
}

Place place_on(BlockDevice device) {
  return {.path = "/mnt", .mount = {.point = "/mnt", .type = "ext4"}, .device = std::move(device)};
}

bool warns(const MachineReport& machine, std::int64_t bytes, std::string_view word) {
  for (const std::string& warning : warnings_of(machine, bytes))
    if (warning.find(word) != std::string::npos) return true;
  return false;
}

TEST(WarningsTest, AQuietMachineWithARealDiskHasNone) {
  MachineReport machine = quiet();
  machine.places = {place_on({.name = "nvme0n1"})};
  EXPECT_TRUE(warnings_of(machine, std::int64_t{4} << 30).empty());
}

TEST(WarningsTest, EachDoubtIsSaid) {
  MachineReport machine = quiet();
  machine.debug_build = true;
  EXPECT_TRUE(warns(machine, 0, "without optimization"));
  machine = quiet();
  machine.sanitized = true;
  EXPECT_TRUE(warns(machine, 0, "sanitizers"));
  machine = quiet();
  machine.governor = "powersave";
  EXPECT_TRUE(warns(machine, 0, "powersave"));
  machine = quiet();
  machine.load = 30;  // it may be our own
  EXPECT_FALSE(warns(machine, 0, "busy"));
  machine.busy = 2;
  EXPECT_TRUE(warns(machine, 0, "busy"));
  machine = quiet();
  machine.io_pressure = 20;
  EXPECT_TRUE(warns(machine, 0, "not ours alone"));
}

TEST(WarningsTest, OfTheDisk) {
  MachineReport machine = quiet();
  machine.places = {place_on({.name = "nvme0n1"})};
  EXPECT_TRUE(warns(machine, 64 << 20, "cache of its own"));
  machine.places = {place_on({.name = "vda", .is_virtual = true})};
  EXPECT_TRUE(warns(machine, std::int64_t{64} << 30, "trust the ratios only"));
  machine.places = {place_on({.name = "zram0", .in_memory = true})};
  EXPECT_TRUE(warns(machine, std::int64_t{64} << 30, "no rate of a disk"));
  machine.places = {{.path = "/dev/shm", .mount = {.type = "tmpfs"}, .device = {}}};
  EXPECT_TRUE(warns(machine, std::int64_t{64} << 30, "no block device"));
}

TEST(MachineReportTest, OfThisMachine) {
  const TempDir folder;
  const MachineReport machine = look_at_machine({folder.path()});
  EXPECT_FALSE(machine.kernel.empty());
  EXPECT_GT(machine.memory_bytes, 0);
  EXPECT_GT(machine.processors, 0);
  ASSERT_EQ(machine.places.size(), 1U);
  EXPECT_EQ(machine.places[0].path, fs::canonical(folder.path()).string());
  EXPECT_FALSE(machine.places[0].mount.type.empty());
  const nlohmann::json json = nlohmann::json::parse(to_json(machine).dump());
  for (const char* key : {"processor", "processors", "memory_bytes", "kernel", "build", "spillway",
                          "fio", "numa_nodes", "paths"})
    EXPECT_TRUE(json.contains(key)) << key;
  for (const char* key : {"file_system", "mount_options", "device"})
    EXPECT_TRUE(json["paths"][0].contains(key)) << key;
  EXPECT_NE(to_text(machine).find(machine.kernel), std::string::npos);
}

}  // namespace
}  // namespace spillway::tool
